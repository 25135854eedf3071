//! Whether io_uring works here, and if not, why and what to do; and the facts behind that.
//!
//! Called once at start to choose a backend, and by `ringway doctor`. It changes nothing: the trial
//! ring is gone when the call returns.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use crate::{StartError, socket};

/// Entries of the trial ring.
const TRIAL_ENTRIES: u32 = 8;

/// The operations that the ring backends use.
const OPERATIONS: [(u8, &str); 8] = [
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::Timeout::CODE, "TIMEOUT"),
];

/// A usable io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uring {
    /// The feature bits (`IORING_FEAT_…`) are not exposed; this says whether a wait takes a timeout
    /// without an operation of its own (5.11).
    pub timed_wait: bool,
    /// Whether completions that find no room are kept (5.5).
    pub no_drop: bool,
}

/// Sets up a small ring with the flags of a shard's ring and asks for the operations we use.
///
/// # Errors
/// [`StartError::Uring`] with the cause and the remedy.
pub fn uring() -> Result<Uring, StartError> {
    let ring = crate::monoio::trial(TRIAL_ENTRIES).map_err(|error| explain(&error))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| explain(&error))?;
    if let Some((_, name)) = OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(StartError::Uring {
            cause: format!("the kernel lacks the operation {name}"),
            remedy: "run Linux 6.1 or later",
        });
    }
    Ok(facts_of(&ring))
}

fn facts_of(ring: &IoUring) -> Uring {
    let params = ring.params();
    Uring { timed_wait: params.is_feature_ext_arg(), no_drop: params.is_feature_nodrop() }
}

/// Why a ring could not be set up, and the remedy: from the error and from what the system shows.
pub(crate) fn explain(error: &io::Error) -> StartError {
    let errno = error.raw_os_error().unwrap_or(0);
    let (cause, remedy) = diagnose(errno, &Facts::read());
    StartError::Uring { cause: format!("{cause} ({error})"), remedy }
}

fn diagnose(errno: i32, facts: &Facts) -> (&'static str, &'static str) {
    let filtered = facts.seccomp == Some(SECCOMP_FILTER);
    match (errno, facts.io_uring_disabled) {
        (libc::EPERM | libc::EACCES, Some(2)) => (
            "the sysctl kernel.io_uring_disabled=2 forbids it to everyone",
            "set kernel.io_uring_disabled to 0, or run with --runtime epoll",
        ),
        (libc::EPERM | libc::EACCES, Some(1)) => (
            "the sysctl kernel.io_uring_disabled=1 forbids it to unprivileged processes",
            "put this process into the group kernel.io_uring_group or set \
             kernel.io_uring_disabled to 0, or run with --runtime epoll",
        ),
        (libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EOPNOTSUPP, _) if filtered => (
            "a seccomp filter of the container runtime blocks it",
            "use a Localhost seccomp profile that allows io_uring_setup, io_uring_enter and \
             io_uring_register, or run with --runtime epoll",
        ),
        (libc::EPERM | libc::EACCES, _) => (
            "a security module refuses it",
            "allow io_uring for this process in SELinux or AppArmor, or run with --runtime epoll",
        ),
        (libc::ENOSYS | libc::EOPNOTSUPP, _) => (
            "the kernel or the sandbox has no io_uring",
            "run Linux 6.1 or later with CONFIG_IO_URING, or run with --runtime epoll",
        ),
        (libc::EINVAL, _) => (
            "the kernel does not know SINGLE_ISSUER or DEFER_TASKRUN",
            "run Linux 6.1 or later, or run with --runtime epoll",
        ),
        (libc::ENOMEM, _) => (
            "the locked-memory limit of this user is used up",
            "raise the memlock limit (ulimit -l), grant CAP_IPC_LOCK, run as a user of its own or \
             with fewer shards, or run with --runtime epoll",
        ),
        (libc::EMFILE | libc::ENFILE, _) => {
            ("no file descriptor is left", "raise the limit of open files (ulimit -n)")
        }
        _ => ("the kernel refused the ring", "run with --runtime epoll and report the error"),
    }
}

/// `Seccomp:` in `/proc/thread-self/status` when a filter is installed.
const SECCOMP_FILTER: u32 = 2;

/// What `ringway doctor` shows of the system; `None` where the system does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `uname -r`.
    pub kernel: Option<String>,
    /// `kernel.io_uring_disabled`: 0 for all, 1 for the privileged, 2 for nobody.
    pub io_uring_disabled: Option<u32>,
    /// `kernel.io_uring_group`: whose members may still use it at 1.
    pub io_uring_group: Option<i64>,
    /// The seccomp mode: 0 none, 1 strict, 2 filter.
    pub seccomp: Option<u32>,
    /// Locked memory in bytes: soft and hard limit (`u64::MAX`: unlimited).
    pub memlock: Option<(u64, u64)>,
    /// Open files: soft and hard limit.
    pub nofile: Option<(u64, u64)>,
    /// The longest accept queue.
    pub somaxconn: Option<u32>,
    /// The congestion control of new connections.
    pub tcp_congestion_control: Option<String>,
}

impl Facts {
    /// Reads them now.
    #[must_use]
    pub fn read() -> Self {
        let sys = |path: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/{path}")).ok()?;
            Some(text.trim().to_owned())
        };
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Self {
            kernel: sys("kernel/osrelease"),
            io_uring_disabled: sys("kernel/io_uring_disabled").and_then(|text| text.parse().ok()),
            io_uring_group: sys("kernel/io_uring_group").and_then(|text| text.parse().ok()),
            seccomp: status_number(&status, "Seccomp"),
            memlock: socket::limits(libc::RLIMIT_MEMLOCK).ok(),
            nofile: socket::limits(libc::RLIMIT_NOFILE).ok(),
            somaxconn: sys("net/core/somaxconn").and_then(|text| text.parse().ok()),
            tcp_congestion_control: sys("net/ipv4/tcp_congestion_control"),
        }
    }
}

/// The number behind `name:` in the text of `/proc/thread-self/status`.
fn status_number(status: &str, name: &str) -> Option<u32> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(errno: i32, disabled: u32, seccomp: u32) -> &'static str {
        let facts =
            Facts { io_uring_disabled: Some(disabled), seccomp: Some(seccomp), ..Facts::default() };
        diagnose(errno, &facts).0
    }

    #[test]
    fn each_refusal_names_its_own_cause() {
        let causes = [
            cause(libc::EPERM, 2, 0),
            cause(libc::EPERM, 1, 0),
            cause(libc::EPERM, 0, SECCOMP_FILTER),
            cause(libc::EPERM, 0, 0),
            cause(libc::ENOSYS, 0, 0),
            cause(libc::EINVAL, 0, 0),
            cause(libc::ENOMEM, 0, 0),
            cause(libc::EMFILE, 0, 0),
            cause(libc::EIO, 0, 0),
        ];
        for (i, one) in causes.iter().enumerate() {
            assert!(!causes[i + 1..].contains(one), "twice: {one}");
        }
    }

    #[test]
    fn a_filter_that_answers_enosys_is_told_from_a_kernel_without_io_uring() {
        assert_eq!(cause(libc::ENOSYS, 0, SECCOMP_FILTER), cause(libc::EPERM, 0, SECCOMP_FILTER));
        assert_ne!(cause(libc::ENOSYS, 0, SECCOMP_FILTER), cause(libc::ENOSYS, 0, 0));
    }

    #[test]
    fn the_seccomp_mode_is_found_in_the_status_of_a_process() {
        let status = "Name:\tringway\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";
        assert_eq!(status_number(status, "Seccomp"), Some(2));
        assert_eq!(status_number("Name:\tx\n", "Seccomp"), None);
    }

    #[test]
    fn this_system_tells_its_facts() {
        let facts = Facts::read();
        assert!(facts.kernel.is_some_and(|release| release.contains('.')));
        let (soft, hard) = facts.nofile.unwrap();
        assert!(soft > 0 && soft <= hard);
    }
}
