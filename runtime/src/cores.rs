//! Which cores this process may use: cpuset, cgroup quota, SMT siblings; and pinning.

/// A logical CPU number as the kernel counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(pub usize);
