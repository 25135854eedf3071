//! `ringway doctor`: what this machine offers, what holds it back, and what to do about it.
//!
//! Facts are read once into [`Facts`]; [`examine`] is pure. It changes nothing. Called by `main.rs`.
//! Invariant: every finding that is not ok carries a remedy.

use std::fmt::Write as _;
use std::net::TcpListener;

use runtime::cores::{self, CoreId, Usable};
use runtime::probe;
use runtime::socket::{Transport, owner_of};
use serde::Serialize;

use crate::cli::placement;
use crate::cli::value::Admin;

/// Open files below which a busy gateway runs out.
pub const NOFILE_WANTED: u64 = 65_536;
/// Accept queue below which bursts of connections are dropped.
pub const SOMAXCONN_WANTED: u32 = 4_096;
/// Locked memory below which rings may not fit, for processes without CAP_IPC_LOCK.
pub const MEMLOCK_WANTED: u64 = 8 << 20;
/// The first kernel with all ring features that pay.
pub const KERNEL_WANTED: (u32, u32) = (6, 1);

/// What the machine says; `None` where it does not.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Kernel, limits and sysctls.
    pub system: probe::Facts,
    /// Whether io_uring works, or why not and what to do.
    pub uring: Option<Result<(), String>>,
    /// Cores and the quota on them.
    pub usable: Option<Usable>,
    /// Whether the admin address is free; `None` without one.
    pub admin: Option<Result<String, String>>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Runs, but not at its best.
    Warn,
    /// Does not start like this.
    Fail,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Facts {
    /// Asks the machine.
    #[must_use]
    pub fn read(admin: Admin) -> Self {
        Self {
            system: probe::Facts::read(),
            uring: Some(probe::uring().map(drop).map_err(|error| error.to_string())),
            usable: cores::usable().ok(),
            admin: match admin {
                Admin::Off => None,
                Admin::At(address) => Some(match TcpListener::bind(address) {
                    Ok(_) => Ok(address.to_string()),
                    Err(error) => {
                        let by = owner_of(Transport::Tcp, address.port())
                            .map_or_else(String::new, |owner| format!(", held by {owner}"));
                        Err(format!("{address}: {error}{by}"))
                    }
                }),
            },
        }
    }
}

/// Judges the facts.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Finding> {
    vec![
        kernel(facts),
        uring(facts),
        memlock(facts),
        nofile(facts),
        somaxconn(facts),
        cores(facts),
        quota(facts),
        smt(facts),
        congestion_control(facts),
        admin(facts),
    ]
}

fn ok(name: &'static str, found: impl Into<String>) -> Finding {
    Finding { name, level: Level::Ok, found: found.into(), remedy: None }
}

fn bad(
    name: &'static str,
    level: Level,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding { name, level, found: found.into(), remedy: Some(remedy.into()) }
}

fn unknown(name: &'static str) -> Finding {
    bad(name, Level::Warn, "unknown", "mount /proc and /sys so that it can be read")
}

fn kernel(facts: &Facts) -> Finding {
    let Some(release) = &facts.system.kernel else { return unknown("kernel") };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return unknown("kernel");
    };
    if (major, minor) >= KERNEL_WANTED {
        ok("kernel", release)
    } else {
        bad("kernel", Level::Warn, release, "run Linux 6.1 or later for io_uring at its best")
    }
}

fn uring(facts: &Facts) -> Finding {
    match &facts.uring {
        None => unknown("io_uring"),
        Some(Ok(())) => ok("io_uring", "usable"),
        Some(Err(why)) => bad(
            "io_uring",
            Level::Warn,
            why,
            "until then `--runtime auto` serves on epoll, at more CPU per request",
        ),
    }
}

fn memlock(facts: &Facts) -> Finding {
    let Some((soft, _)) = facts.system.memlock else { return unknown("memlock") };
    let found = bytes(soft);
    if soft >= MEMLOCK_WANTED {
        ok("memlock", found)
    } else {
        bad(
            "memlock",
            Level::Warn,
            found,
            "raise it with `ulimit -l unlimited`, LimitMEMLOCK=infinity or CAP_IPC_LOCK",
        )
    }
}

fn nofile(facts: &Facts) -> Finding {
    let Some((soft, hard)) = facts.system.nofile else { return unknown("nofile") };
    let found = format!("{soft} (hard limit {hard}, which is used)");
    if hard >= NOFILE_WANTED {
        ok("nofile", found)
    } else {
        bad(
            "nofile",
            Level::Warn,
            found,
            format!("raise the hard limit to {NOFILE_WANTED} or more: `ulimit -Hn`, LimitNOFILE="),
        )
    }
}

fn somaxconn(facts: &Facts) -> Finding {
    match facts.system.somaxconn {
        None => unknown("somaxconn"),
        Some(n) if n >= SOMAXCONN_WANTED => ok("somaxconn", n.to_string()),
        Some(n) => bad(
            "somaxconn",
            Level::Warn,
            n.to_string(),
            format!("sysctl -w net.core.somaxconn={SOMAXCONN_WANTED}"),
        ),
    }
}

fn cores(facts: &Facts) -> Finding {
    let Some(usable) = &facts.usable else { return unknown("cores") };
    let ids: Vec<CoreId> = usable.cores.iter().map(|core| core.id).collect();
    ok("cores", format!("{} usable: {}", ids.len(), placement::list(&ids)))
}

fn quota(facts: &Facts) -> Finding {
    let Some(usable) = &facts.usable else { return unknown("cpu quota") };
    let Some(quota) = usable.quota.map(|quota| quota.cores()) else {
        return ok("cpu quota", "none");
    };
    let found = format!("{quota:.2} cores of {}", usable.cores.len());
    if quota < 1.0 {
        let remedy = "give it at least one core: throttling shows as latency in the tail";
        bad("cpu quota", Level::Warn, found, remedy)
    } else if quota.fract() > 0.0 {
        let remedy = "use whole cores: a part of a core is throttled in every period";
        bad("cpu quota", Level::Warn, found, remedy)
    } else {
        ok("cpu quota", found)
    }
}

fn smt(facts: &Facts) -> Finding {
    let Some(usable) = &facts.usable else { return unknown("smt") };
    match usable.cores.iter().filter(|core| core.thread > 0).count() {
        0 => ok("smt", "every usable core is a physical core of its own"),
        second => bad(
            "smt",
            Level::Warn,
            format!("{second} usable cores share a physical core with another"),
            "shards take whole physical cores first; ask for no more with --shards for even latency",
        ),
    }
}

fn congestion_control(facts: &Facts) -> Finding {
    match &facts.system.tcp_congestion_control {
        None => unknown("congestion"),
        Some(name) if name == "bbr" => bad(
            "congestion",
            Level::Warn,
            "bbr",
            "fine towards the internet; it distorts benchmarks on loopback: use cubic there",
        ),
        Some(name) => ok("congestion", name),
    }
}

fn admin(facts: &Facts) -> Finding {
    match &facts.admin {
        None => ok("admin port", "off"),
        Some(Ok(address)) => ok("admin port", format!("{address} is free")),
        Some(Err(why)) => {
            bad("admin port", Level::Fail, why, "choose another with --admin ADDR, or --admin off")
        }
    }
}

fn bytes(n: u64) -> String {
    if n == u64::MAX { "unlimited".to_owned() } else { format!("{} KiB", n / 1024) }
}

/// Whether something keeps the gateway from starting.
#[must_use]
pub fn failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.level == Level::Fail)
}

/// The findings for people.
#[must_use]
pub fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        let _ = writeln!(out, "{level:<5} {:<11} {}", finding.name, finding.found);
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(out, "{:<17} -> {remedy}", "");
        }
    }
    out
}

/// The findings for scripts.
#[must_use]
pub fn json(findings: &[Finding]) -> String {
    let mut text = serde_json::to_string_pretty(findings).expect("plain values serialise");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            system: probe::Facts {
                kernel: Some("6.8.0-31-generic".into()),
                memlock: Some((u64::MAX, u64::MAX)),
                nofile: Some((1024, 1 << 20)),
                somaxconn: Some(4096),
                tcp_congestion_control: Some("cubic".into()),
                ..probe::Facts::default()
            },
            uring: Some(Ok(())),
            usable: Some(usable(0, None)),
            admin: Some(Ok("127.0.0.1:19000".into())),
        }
    }

    /// Four cores, of which the last `second` are second threads.
    fn usable(second: usize, micros: Option<u64>) -> Usable {
        let core = |id| cores::Core { id: CoreId(id), thread: usize::from(id >= 4 - second) };
        let quota = micros.map(|micros| cores::Quota { micros, period: 100_000 });
        Usable { cores: (0..4).map(core).collect(), quota }
    }

    fn level(change: impl FnOnce(&mut Facts), name: &str) -> Level {
        let mut facts = good();
        change(&mut facts);
        let findings = examine(&facts);
        assert!(findings.iter().all(|f| (f.level == Level::Ok) == f.remedy.is_none()));
        findings.iter().find(|finding| finding.name == name).unwrap().level
    }

    #[test]
    fn a_good_machine_has_nothing_to_complain_of() {
        assert!(examine(&good()).iter().all(|finding| finding.level == Level::Ok));
    }

    #[test]
    fn each_shortage_is_found_and_only_what_stops_the_start_fails() {
        assert_eq!(level(|f| f.system.kernel = Some("5.15.1".into()), "kernel"), Level::Warn);
        assert_eq!(level(|f| f.uring = Some(Err("no".into())), "io_uring"), Level::Warn);
        assert_eq!(level(|f| f.system.memlock = Some((65_536, 65_536)), "memlock"), Level::Warn);
        assert_eq!(level(|f| f.system.nofile = Some((1024, 4096)), "nofile"), Level::Warn);
        assert_eq!(level(|f| f.system.somaxconn = Some(128), "somaxconn"), Level::Warn);
        assert_eq!(level(|f| f.usable = Some(usable(0, Some(150_000))), "cpu quota"), Level::Warn);
        assert_eq!(level(|f| f.usable = Some(usable(0, Some(200_000))), "cpu quota"), Level::Ok);
        assert_eq!(level(|f| f.usable = Some(usable(2, None)), "smt"), Level::Warn);
        assert_eq!(level(|f| f.admin = Some(Err("used".into())), "admin port"), Level::Fail);
        assert_eq!(level(|f| f.system.kernel = None, "kernel"), Level::Warn);
    }
}
