//! The built binary as a child process, with its log kept for when a test fails.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use super::{client, wait_for};

/// A running gateway; killed by its pid and its log shown if the test fails.
pub(crate) struct Gateway {
    child: Child,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
    pub(crate) ready: String,
    pub(crate) admin: String,
}

/// A command that runs the binary without the environment's own settings.
pub(crate) fn ringway(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGWAY_")) {
        command.env_remove(name);
    }
    command.args(args);
    command
}

impl Gateway {
    /// Serves `path` and waits for the line `ready:`.
    pub(crate) fn start(runtime: &str, path: &Path, more: &[&str]) -> Self {
        Self::start_command(ringway(&[]), runtime, path, more)
    }

    /// The same with a command to start from.
    pub(crate) fn start_command(
        mut command: Command,
        runtime: &str,
        path: &Path,
        more: &[&str],
    ) -> Self {
        command.arg("run").arg(path).args(["--runtime", runtime]).args(more);
        Self::spawn(command)
    }

    /// Runs `command` and waits for the line `ready:`.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.args(["--admin", "127.0.0.1:0"]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, receiver) = std::sync::mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let copy = Arc::clone(&log);
        let reading = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.starts_with("ready: ") {
                    let _ = sender.send(line.clone());
                }
                let mut log = copy.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut gateway =
            Self { child, log, reading: Some(reading), ready: String::new(), admin: String::new() };
        gateway.ready = receiver.recv_timeout(super::PATIENCE).expect("a line `ready:`");
        gateway.admin = gateway.ready.rsplit(' ').next().unwrap().to_owned();
        gateway
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An admin page: status and body.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        let answer = client::exchange(
            &self.admin,
            format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of the admin port");
        (client::status(head), body.to_owned())
    }

    pub(crate) fn status(&self) -> Value {
        let (code, body) = self.page("/status");
        assert_eq!(code, 200);
        serde_json::from_str(&body).expect("/status is JSON")
    }

    /// The number of the epoch that all shards run.
    pub(crate) fn epoch(&self) -> u64 {
        self.status()["epoch"]["installed"].as_u64().unwrap()
    }

    /// Waits until all shards run an epoch after `before`.
    pub(crate) fn wait_epoch_after(&self, before: u64) -> u64 {
        wait_for("a new epoch", || Some(self.epoch()).filter(|epoch| *epoch > before))
    }

    /// Does `change`, and waits until all shards run its epoch.
    pub(crate) fn changing(&self, change: impl FnOnce()) -> u64 {
        let before = self.epoch();
        change();
        self.wait_epoch_after(before)
    }

    pub(crate) fn wait_log(&self, part: &str) {
        wait_for(part, || self.log().contains(part).then_some(()));
    }

    /// Waits until this line stands in `/metrics`.
    pub(crate) fn wait_metric(&self, line: &str) {
        wait_for(line, || self.page("/metrics").1.lines().any(|l| l == line).then_some(()));
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the end: exit status, and what stood on standard output.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let status = wait_for("the end of the process", || self.child.try_wait().unwrap());
        if let Some(reading) = self.reading.take() {
            reading.join().unwrap();
        }
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (status.code(), out)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reading) = self.reading.take() {
            let _ = reading.join();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the gateway ---\n{}---", self.log());
        }
    }
}
