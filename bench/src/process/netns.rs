//! A network of one's own: loopback without the host's congestion control and neighbours.
//!
//! Called first thing by the comparing commands. Invariant: says which network is used, and never
//! changes a setting of the host's.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Set in the process that runs inside.
const MARK: &str = "BENCH_OWN_NETWORK";
const CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Runs this command again in a network namespace of its own, where that is permitted; returns
/// in the inner process, or where it is not permitted, with what is used.
pub(crate) fn enter() -> String {
    if std::env::var_os(MARK).is_some() {
        return set_up();
    }
    for flags in ["-n", "-rn"] {
        let permitted = Command::new("unshare").args([flags, "true"]).output();
        if permitted.is_ok_and(|output| output.status.success()) {
            let Ok(program) = std::env::current_exe() else { break };
            let error = Command::new("unshare")
                .arg(flags)
                .arg(program)
                .args(std::env::args_os().skip(1))
                .env(MARK, "1")
                .exec();
            eprintln!("note: cannot run under unshare: {error}");
        }
    }
    let used = format!("the host's network with {}", congestion_control());
    eprintln!("note: no network namespace (needs root or user namespaces); using {used}");
    used
}

fn set_up() -> String {
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    if !up.is_ok_and(|status| status.success()) {
        eprintln!("note: `ip link set lo up` failed; apt-get install iproute2");
    }
    // bbr paces by timers, which on loopback measures the timers.
    if fs::write(CONTROL, "reno").is_err() {
        drop(fs::write(CONTROL, "cubic"));
    }
    // The churn scenarios use up ports quickly.
    drop(fs::write("/proc/sys/net/ipv4/ip_local_port_range", "2000 64999"));
    drop(fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1"));
    format!("a network namespace of its own with {}", congestion_control())
}

fn congestion_control() -> String {
    fs::read_to_string(CONTROL).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
