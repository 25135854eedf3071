//! The CPU quota of this process's control groups, version 1 and 2.
//!
//! The tightest quota of the group and its ancestors counts. Inside a container the path that
//! `/proc/self/cgroup` tells may be the host's: what is not there is skipped, and the root of the
//! mount, which is then the container's own group, is always looked at.

use std::fs;
use std::path::Path;

/// CPU time a group may use in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Microseconds of CPU time a period.
    pub micros: u64,
    /// Microseconds a period.
    pub period: u64,
}

impl Quota {
    /// As a number of cores, such as 2.5.
    #[must_use]
    pub fn cores(&self) -> f64 {
        self.micros as f64 / self.period as f64
    }

    /// The whole cores that it keeps busy, rounded up; at least 1.
    #[must_use]
    pub fn rounded_up(&self) -> usize {
        usize::try_from(self.micros.div_ceil(self.period)).unwrap_or(usize::MAX).max(1)
    }

    fn new(micros: u64, period: u64) -> Option<Self> {
        (micros > 0 && period > 0).then_some(Self { micros, period })
    }
}

/// The tightest quota that holds for this process; `None` when there is none. `root` is `/`.
pub(super) fn read(root: &Path) -> Option<Quota> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mount = root.join("sys/fs/cgroup");
    let mut quotas = Vec::new();
    for (controllers, path) in groups.lines().filter_map(group) {
        if controllers.is_empty() {
            for place in [mount.clone(), mount.join("unified")] {
                quotas.extend(up_from(&place, path).filter_map(|dir| version_2(&dir)));
            }
        } else if controllers.split(',').any(|name| name == "cpu") {
            for place in [mount.join("cpu"), mount.join(controllers)] {
                quotas.extend(up_from(&place, path).filter_map(|dir| version_1(&dir)));
            }
        }
    }
    quotas.into_iter().min_by(|a, b| a.cores().total_cmp(&b.cores()))
}

/// `hierarchy:controllers:path`.
fn group(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(':')?;
    rest.split_once(':')
}

/// The directory of `path` below `mount`, its parents, and `mount`.
fn up_from<'a>(mount: &'a Path, path: &'a str) -> impl Iterator<Item = std::path::PathBuf> + 'a {
    Path::new(path.trim_start_matches('/')).ancestors().map(|part| mount.join(part))
}

fn version_2(dir: &Path) -> Option<Quota> {
    parse_max(&fs::read_to_string(dir.join("cpu.max")).ok()?)
}

/// `max 100000` or `250000 100000`.
fn parse_max(text: &str) -> Option<Quota> {
    let mut numbers = text.split_ascii_whitespace();
    Quota::new(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?)
}

fn version_1(dir: &Path) -> Option<Quota> {
    let number = |name: &str| -> Option<i64> {
        fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok()
    };
    // -1 is "no quota".
    let micros = u64::try_from(number("cpu.cfs_quota_us")?).ok()?;
    Quota::new(micros, u64::try_from(number("cpu.cfs_period_us")?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    #[test]
    fn a_quota_is_rounded_up_and_keeps_its_figure() {
        let quota = parse_max("250000 100000\n").unwrap();
        assert_eq!((quota.cores(), quota.rounded_up()), (2.5, 3));
        assert_eq!(parse_max("50000 100000").unwrap().rounded_up(), 1);
        assert_eq!(parse_max("200000 100000").unwrap().rounded_up(), 2);
        assert_eq!(parse_max("max 100000"), None);
        assert_eq!(parse_max("0 0"), None);
        assert_eq!(parse_max(""), None);
    }

    #[test]
    fn the_tightest_of_the_group_and_its_ancestors_counts() {
        let tree = Tree::new("tightest");
        tree.file("proc/self/cgroup", "0::/pods/one\n");
        tree.file("sys/fs/cgroup/pods/one/cpu.max", "400000 100000\n");
        tree.file("sys/fs/cgroup/pods/cpu.max", "150000 100000\n");
        assert_eq!(read(&tree.root), Quota::new(150_000, 100_000));
    }

    #[test]
    fn a_container_finds_its_own_group_at_the_root_of_the_mount() {
        let tree = Tree::new("container");
        tree.file("proc/self/cgroup", "0::/a/path/of/the/host\n");
        tree.file("sys/fs/cgroup/cpu.max", "200000 100000\n");
        assert_eq!(read(&tree.root).unwrap().rounded_up(), 2);
    }

    #[test]
    fn version_1_is_read_under_either_name_of_its_mount() {
        for mount in ["cpu", "cpu,cpuacct"] {
            let tree = Tree::new(mount);
            tree.file("proc/self/cgroup", "9:memory:/x\n3:cpu,cpuacct:/x\n");
            tree.file(&format!("sys/fs/cgroup/{mount}/x/cpu.cfs_quota_us"), "350000\n");
            tree.file(&format!("sys/fs/cgroup/{mount}/x/cpu.cfs_period_us"), "100000\n");
            tree.file(&format!("sys/fs/cgroup/{mount}/cpu.cfs_quota_us"), "-1\n");
            tree.file(&format!("sys/fs/cgroup/{mount}/cpu.cfs_period_us"), "100000\n");
            assert_eq!(read(&tree.root).unwrap().rounded_up(), 4);
        }
    }

    #[test]
    fn without_control_groups_there_is_no_quota() {
        assert_eq!(read(&Tree::new("none").root), None);
    }
}
