//! Child processes that never outlive the command that started them.
//!
//! Called by every command that starts something. Invariant: a child ends when its [`Process`] is
//! dropped, and by the kernel (`PR_SET_PDEATHSIG`, set by setpriv) when this process dies first.

pub(crate) mod cpu;
pub(crate) mod netns;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on, Ctrl-C and SIGTERM end the command through its own clean-up.
pub(crate) fn catch_interrupts() -> anyhow::Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(flag)).context("cannot catch signals")?;
    }
    Ok(())
}

/// An error when a signal has come.
pub(crate) fn check_interrupt() -> anyhow::Result<()> {
    let hit = INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed));
    ensure!(!hit, "interrupted; everything that was started has been stopped");
    Ok(())
}

/// Sleeps unless a signal comes.
pub(crate) fn pause(duration: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + duration;
    loop {
        check_interrupt()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// Raises the limit on open files as far as it goes; children inherit it.
pub(crate) fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_err() {
        return limit.current.unwrap_or(u64::MAX);
    }
    limit.maximum.unwrap_or(u64::MAX)
}

/// A directory that is removed when dropped.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// A new one.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Nothing to be done when it stays.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Ports of loopback that were free a moment ago, all different.
pub(crate) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on loopback")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Where a program is, if it is on the PATH (or where Debian keeps daemons).
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output in `directory`, on one core if asked.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        arguments: &[String],
        core: Option<usize>,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut line: Vec<String> = Vec::new();
        if find_program("setpriv").is_some() {
            line.extend(["setpriv", "--pdeathsig", "TERM"].map(str::to_owned));
        }
        if let Some(core) = core {
            ensure!(
                find_program("taskset").is_some(),
                "taskset is missing: apt-get install util-linux"
            );
            line.extend(["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
        }
        line.push(program.display().to_string());
        line.extend_from_slice(arguments);
        let child = Command::new(&line[0])
            .args(&line[1..])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}: {}", line.join(" ")))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` is true; an error with its output if it ends before.
    pub(crate) fn wait_until(
        &mut self,
        limit: Duration,
        ready: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + limit;
        while !ready(self) {
            check_interrupt()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended before it was ready ({status}):\n{}", self.name, self.output());
            }
            if Instant::now() > end {
                bail!("{} was not ready after {limit:?}; it said:\n{}", self.name, self.output());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until something accepts on `address`.
    pub(crate) fn wait_listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let connects =
            |_: &Self| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
        self.wait_until(Duration::from_secs(10), connects)
    }

    /// Waits for a line of its output that starts with `ready:`.
    pub(crate) fn wait_ready_line(&mut self, limit: Duration) -> anyhow::Result<String> {
        let line = |process: &Self| {
            let output = process.output();
            output.lines().find(|line| line.starts_with("ready:")).map(str::to_owned)
        };
        self.wait_until(limit, |process| line(process).is_some())?;
        line(self).context("the ready line is gone")
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            check_interrupt()?;
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < end, "{} did not end within {limit:?}", self.name);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn stop(&mut self) {
        if !self.is_running() {
            return;
        }
        let below = cpu::descendants(self.pid());
        send(self.pid(), Signal::TERM);
        let end = Instant::now() + Duration::from_secs(2);
        while self.is_running() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        if self.is_running() {
            // Ours for certain: each is a child that has not been waited for, or one's child.
            below.iter().for_each(|pid| send(*pid, Signal::KILL));
            drop(self.child.kill());
        }
        drop(self.child.wait());
        let end = Instant::now() + Duration::from_secs(2);
        while below.iter().any(|pid| cpu::is_alive(*pid)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may have ended by itself.
        let _ended = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_has_ended_with_its_children() {
        let directory = TempDir::new("process-test").unwrap();
        let script = "trap '' TERM; sleep 61 & echo ready: $!; wait; wait".to_owned();
        let arguments = ["-c".to_owned(), script];
        let mut process =
            Process::start("sh", Path::new("/bin/sh"), &arguments, None, directory.path()).unwrap();
        let line = process.wait_ready_line(Duration::from_secs(5)).unwrap();
        let below: u32 = line["ready: ".len()..].parse().unwrap();
        let pid = process.pid();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(!cpu::is_alive(below));
    }

    #[test]
    fn what_ends_too_early_is_reported_with_its_output() {
        let directory = TempDir::new("process-early").unwrap();
        let arguments = ["-c".to_owned(), "echo port in use; exit 3".to_owned()];
        let mut process =
            Process::start("sh", Path::new("/bin/sh"), &arguments, None, directory.path()).unwrap();
        let error = process.wait_ready_line(Duration::from_secs(5)).unwrap_err().to_string();
        assert!(error.contains("port in use"), "{error}");
    }
}
