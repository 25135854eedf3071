//! What a process and its children have used: CPU time, memory, descriptors.
//!
//! Reads `/proc` only. Called by the measuring commands. Invariant: CPU time covers every living
//! thread of every descendant, kernel workers of io_uring included; a thread that ended between two
//! readings is lost, so readings bracket a load on processes that keep their threads.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// The first figure of a schedstat line: nanoseconds on a CPU.
fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// The children of a process, and theirs.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        for thread in threads(pid) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"));
            let children = children.unwrap_or_default();
            let pids = children.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
            for child in pids {
                found.push(child);
                open.push(child);
            }
        }
    }
    found
}

/// Whether a process runs; one that has ended but was not waited for does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn threads(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Nanoseconds of CPU that a process and its descendants have used.
pub(crate) fn cpu_ns(pid: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    let mut read = 0;
    for pid in descendants(pid).into_iter().chain([pid]) {
        for thread in threads(pid) {
            let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"));
            if let Some(ns) = text.ok().as_deref().and_then(on_cpu) {
                sum += ns;
                read += 1;
            }
        }
    }
    anyhow::ensure!(read > 0, "process {pid} is gone, or this kernel keeps no schedstat");
    Ok(sum)
}

/// A `Key:  N kB` line of /proc/PID/status, in bytes.
fn kib_line(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Resident bytes of a process and its descendants.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let one = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        kib_line(&text, "VmRSS")
    };
    let own = one(pid).with_context(|| format!("process {pid} is gone"))?;
    Ok(own + descendants(pid).into_iter().filter_map(one).sum::<u64>())
}

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Clock ticks of this machine so far, and how many of them the hypervisor took.
pub(crate) fn machine_ticks() -> (u64, u64) {
    ticks(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn ticks(stat: &str) -> (u64, u64) {
    let line = stat.lines().next().unwrap_or_default();
    let figures: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
    (figures.iter().sum(), figures.get(7).copied().unwrap_or(0))
}

/// The machine in one line.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    format!("{cores} × {model}, kernel {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_status_and_stat_lines_are_read() {
        assert_eq!(on_cpu("123456789 42 7\n"), Some(123_456_789));
        assert_eq!(on_cpu(""), None);
        let status = "Name:\tx\nVmHWM:\t  900 kB\nVmRSS:\t  512 kB\n";
        assert_eq!(kib_line(status, "VmRSS"), Some(512 * 1024));
        assert_eq!(kib_line(status, "VmSwap"), None);
        assert_eq!(ticks("cpu  10 20 30 40 1 2 3 4 0 0\ncpu0 …"), (110, 4));
    }

    #[test]
    fn cpu_time_of_this_process_grows_when_it_works() {
        let pid = std::process::id();
        let before = cpu_ns(pid).unwrap();
        let mut sum = 0_u64;
        while cpu_ns(pid).unwrap() < before + 2_000_000 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        assert!(resident(pid).unwrap() > 100_000 && descriptors(pid) > 2);
    }
}
