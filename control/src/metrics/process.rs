//! What the kernel says about this process, for metrics.
//!
//! Reads `/proc/self`, on Linux only; where a file cannot be read its value is 0. No caching.

use std::fs;

/// Clock ticks of `/proc/self/stat`: fixed at 100 a second in the kernel's interface to user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Facts of now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// User and system time.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Their limit.
    pub max_fds: u64,
}

impl Process {
    /// Asks the kernel.
    #[must_use]
    pub fn read() -> Self {
        let text =
            |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self {
            cpu_seconds: cpu_seconds(&text("stat")).unwrap_or_default(),
            resident_bytes: resident_bytes(&text("status")).unwrap_or_default(),
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
            max_fds: limit(&text("limits"), "Max open files").map_or(0, |(soft, _)| soft),
        }
    }
}

/// Fields 14 and 15, counted behind the parenthesised command, which may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Soft and hard value of a line of `/proc/self/limits`; unlimited is `u64::MAX`.
#[must_use]
pub fn limit(limits: &str, name: &str) -> Option<(u64, u64)> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut values = rest.split_whitespace().map(|word| match word {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    });
    Some((values.next()??, values.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 150 0";
        assert_eq!(cpu_seconds(stat), Some(4.0));
    }

    #[test]
    fn limits_are_read_by_name() {
        let text =
            "Limit  Soft Limit Hard Limit Units\nMax open files   1024   unlimited   files\n";
        assert_eq!(limit(text, "Max open files"), Some((1024, u64::MAX)));
        assert_eq!(limit(text, "Max locked memory"), None);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let process = Process::read();
        assert!(process.resident_bytes > 0 && process.open_fds > 2 && process.max_fds > 2);
    }
}
