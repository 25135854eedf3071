//! Which cores this process may use: cpuset, cgroup quota, SMT siblings; and pinning.

use std::io;

use crate::StartError;

/// A logical CPU number as the kernel counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(pub usize);

/// Pins the calling thread to `core`.
///
/// # Errors
/// [`StartError::Pin`] when the cpuset does not have it.
pub fn pin(core: CoreId) -> Result<(), StartError> {
    let CoreId(core) = core;
    set_affinity(core).map_err(|source| StartError::Pin { core, source })
}

pub(crate) fn pin_if(core: Option<CoreId>) -> Result<(), StartError> {
    core.map_or(Ok(()), pin)
}

fn set_affinity(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the pointer is good for the size given, and the call does not keep it.
    let done = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
