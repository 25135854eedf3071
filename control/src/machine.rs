//! Facts of this machine that `doctor` shows and the start depends on.
//!
//! Reads `/proc` and `/sys`; it changes nothing and decides nothing. `None` or an empty list where
//! the system does not tell.

use std::fs;

use crate::metrics::process;

/// A value of `/proc/sys`.
#[must_use]
pub fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    Some(text.trim().to_owned())
}

/// Soft and hard limit of this process; unlimited is `u64::MAX`.
#[must_use]
pub fn limit(name: &str) -> Option<(u64, u64)> {
    process::limit(&fs::read_to_string("/proc/self/limits").ok()?, name)
}

/// Whether io_uring works, else why not and what to do.
///
/// # Errors
/// The cause and the remedy.
pub fn uring() -> Result<(), String> {
    runtime::probe::uring().map(|_| ()).map_err(|error| error.to_string())
}

/// Cores that this process may use (its cpuset and affinity), ascending.
#[must_use]
pub fn usable_cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map(parse_list).unwrap_or_default()
}

fn parse_list(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// The cgroup's CPU quota in cores; `None` without one. The smallest on the way up counts.
#[must_use]
pub fn quota() -> Option<f64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut smallest: Option<f64> = None;
    let mut path = path.trim_end_matches('/');
    loop {
        let file = fs::read_to_string(format!("/sys/fs/cgroup{path}/cpu.max"));
        if let Some(quota) = file.ok().as_deref().and_then(parse_quota) {
            smallest = Some(smallest.map_or(quota, |least| least.min(quota)));
        }
        let Some((parent, _)) = path.rsplit_once('/') else { return smallest };
        path = parent;
    }
}

fn parse_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

/// Whether hyper-threads are in use.
#[must_use]
pub fn smt_active() -> Option<bool> {
    let text = fs::read_to_string("/sys/devices/system/cpu/smt/active").ok()?;
    Some(text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_quotas_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_quota("150000 100000\n"), Some(1.5));
        assert_eq!(parse_quota("max 100000\n"), None);
    }

    #[test]
    fn this_process_may_use_some_core() {
        assert!(!usable_cores().is_empty());
    }
}
