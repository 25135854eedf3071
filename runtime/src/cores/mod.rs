//! Which cores this process may use: cpuset, cgroup quota, SMT siblings; and pinning.
//!
//! Control discovers them once at start and chooses a core for each shard; a backend pins its own
//! thread. Nothing here changes what other threads may use.

mod list;
mod quota;

use std::fs;
use std::io;
use std::path::Path;

use crate::StartError;

pub use self::list::{CORE_MAX, ListError, parse};
pub use self::quota::Quota;

/// A logical CPU number as the kernel counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(pub usize);

/// What this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// The logical cores of its cpuset and affinity, ascending.
    pub cores: Vec<Core>,
    /// The tightest CPU quota of its control groups.
    pub quota: Option<Quota>,
}

/// A usable logical core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    /// Its number.
    pub id: CoreId,
    /// Which thread of its physical core it is, among the usable ones: 0 is the first.
    pub thread: usize,
}

/// Looks at the affinity of the calling thread (so ask before pinning it), the control groups and
/// the topology. What the system does not tell counts as no limit and no siblings.
///
/// # Errors
/// The kernel does not tell the affinity.
pub fn usable() -> io::Result<Usable> {
    Ok(read(Path::new("/"), &affinity()?))
}

fn read(root: &Path, allowed: &[CoreId]) -> Usable {
    let thread_of = |id: CoreId| {
        let path = format!("sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", id.0);
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        let siblings = parse(&text).unwrap_or_default();
        siblings.iter().filter(|other| **other < id && allowed.contains(other)).count()
    };
    let cores = allowed.iter().map(|&id| Core { id, thread: thread_of(id) }).collect();
    Usable { cores, quota: quota::read(root) }
}

impl Usable {
    /// How many shards can run at once: the cores, or fewer as the quota allows (rounded up).
    #[must_use]
    pub fn count(&self) -> usize {
        let quota = self.quota.map_or(usize::MAX, |quota| quota.rounded_up());
        self.cores.len().min(quota).max(1)
    }

    /// A core for each of `shards` shards: first one of every physical core, then their siblings;
    /// with more shards than cores it starts over.
    #[must_use]
    pub fn choose(&self, shards: usize) -> Vec<CoreId> {
        let mut order: Vec<Core> = self.cores.clone();
        order.sort_by_key(|core| (core.thread, core.id));
        order.iter().map(|core| core.id).cycle().take(shards).collect()
    }

    /// The first of `wanted` that this process may not use.
    #[must_use]
    pub fn first_unusable(&self, wanted: &[CoreId]) -> Option<CoreId> {
        wanted.iter().copied().find(|id| self.cores.iter().all(|core| core.id != *id))
    }
}

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
    if core > CORE_MAX {
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

fn affinity() -> io::Result<Vec<CoreId>> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is good for the size given, and the call does not keep it.
    let done = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every number asked for is below CPU_SETSIZE.
    let allowed = (0..=CORE_MAX).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) });
    Ok(allowed.map(CoreId).collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Sample files below a directory that goes away with it.
    pub(super) struct Tree {
        pub(super) root: PathBuf,
    }

    impl Tree {
        pub(super) fn new(name: &str) -> Self {
            let root =
                std::env::temp_dir().join(format!("runtime-cores-{}-{name}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Self { root }
        }

        pub(super) fn file(&self, path: &str, text: &str) {
            let path = self.root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    fn siblings(tree: &Tree, lists: &[&str]) {
        for (core, list) in lists.iter().enumerate() {
            let dir = format!("sys/devices/system/cpu/cpu{core}/topology");
            tree.file(&format!("{dir}/thread_siblings_list"), list);
        }
    }

    fn ids(cores: &[usize]) -> Vec<CoreId> {
        cores.iter().copied().map(CoreId).collect()
    }

    #[test]
    fn physical_cores_come_first_then_their_siblings_then_it_starts_over() {
        let tree = Tree::new("smt");
        siblings(&tree, &["0-1\n", "0-1\n", "2-3\n", "2-3\n"]);
        let usable = read(&tree.root, &ids(&[0, 1, 2, 3]));
        assert_eq!(usable.choose(2), ids(&[0, 2]));
        assert_eq!(usable.choose(6), ids(&[0, 2, 1, 3, 0, 2]));
    }

    #[test]
    fn a_sibling_outside_the_cpuset_does_not_count() {
        let tree = Tree::new("cpuset");
        siblings(&tree, &["0,2\n", "1,3\n", "0,2\n", "1,3\n"]);
        let usable = read(&tree.root, &ids(&[1, 2, 3]));
        assert_eq!(usable.choose(3), ids(&[1, 2, 3]));
        assert_eq!(usable.first_unusable(&ids(&[3, 0])), Some(CoreId(0)));
        assert_eq!(usable.first_unusable(&ids(&[3, 1])), None);
    }

    #[test]
    fn the_quota_bounds_the_count_but_not_the_choice() {
        let tree = Tree::new("count");
        tree.file("proc/self/cgroup", "0::/\n");
        tree.file("sys/fs/cgroup/cpu.max", "150000 100000\n");
        let usable = read(&tree.root, &ids(&[0, 1, 2, 3]));
        assert_eq!(usable.count(), 2);
        assert_eq!(read(&Tree::new("bare").root, &ids(&[0, 1, 2])).count(), 3);
    }

    #[test]
    fn a_pinned_thread_may_use_its_core_only() {
        let first = usable().unwrap().cores[0].id;
        let alone = std::thread::spawn(move || {
            pin(first).unwrap();
            usable().unwrap().choose(1)
        });
        assert_eq!(alone.join().unwrap(), [first]);
    }

    #[test]
    fn pinning_to_a_core_that_is_not_there_names_it() {
        for core in [CORE_MAX, CORE_MAX + 1, usize::MAX] {
            let error = pin(CoreId(core)).unwrap_err();
            assert!(error.to_string().contains(&format!("core {core}")), "{error}");
        }
    }
}
