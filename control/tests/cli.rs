//! The built binary: help, mistakes on the command line, exit statuses, and a whole short life.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn ringway(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway")).args(args).env_clear().output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ringway-cli-{}-{name}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn help_is_as_written_down() {
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli_help");
    let mut stale = Vec::new();
    for (name, args) in [
        ("ringway", &["--help"][..]),
        ("run", &["run", "--help"]),
        ("check", &["check", "--help"]),
        ("doctor", &["doctor", "--help"]),
        ("status", &["status", "--help"]),
        ("histograms", &["histograms", "--help"]),
    ] {
        let output = ringway(args);
        assert_eq!(output.status.code(), Some(0));
        let path = snapshots.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(&snapshots).unwrap();
            fs::write(&path, &output.stdout).unwrap();
        }
        if fs::read(&path).unwrap_or_default() != output.stdout {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "stale: {stale:?}; run this test with UPDATE=1");
}

#[test]
fn wrong_words_get_the_nearest_and_status_2() {
    for (args, says) in [
        (&["rnu", "x"][..], "'run'"),
        (&["run", "x", "--shard", "2"], "'--shards'"),
        (&["run", "x", "--acess-log", "-"], "'--access-log'"),
        (&["run", "x", "--runtime", "epol"], "'epoll'"),
        (&["run", "x", "--shards", "0"], "1..=1024"),
        (&["run", "x", "--cores", "5-2"], "runs backwards"),
        (&["run", "x", "--admin", "19000"], "127.0.0.1:19000"),
        (&["run", "x", "--timeout-connect", "5"], "500ms"),
        (&["run", "x", "--addresses", "pool:10.0.0.0/33"], "network"),
        (&["run"], "PATH"),
        (&["run", "x", "--snapshot", "off"], "cannot be used with"),
        (&["run", "x", "--kube"], "cannot be used with"),
        (&["histograms", "--admin", "x"], "ADDRESS:PORT"),
    ] {
        let output = ringway(args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
}

#[test]
fn a_path_that_does_not_exist_is_bad_input() {
    let output = ringway(&["run", "/no/such/file.yaml", "--admin", "off"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/no/such/file.yaml"));
    assert_eq!(ringway(&["check", "/no/such/file.yaml"]).status.code(), Some(1));
}

#[test]
fn a_cluster_that_cannot_be_found_is_no_start_and_the_remedy_is_said() {
    let dir = directory("kubeconfig");
    let file = dir.join("config");
    fs::write(&file, "apiVersion: v1\nkind: Config\nclusters: []\n").unwrap();
    let file = file.to_str().unwrap();
    for (args, says) in [
        (&["run", "--kube"][..], "--kubeconfig FILE or KUBECONFIG"),
        (&["run", "--kube", "--kubeconfig", "/no/such/file"], "/no/such/file"),
        (&["run", "--kube", "--kubeconfig", file, "--context", "nowhere"], "--context NAME"),
    ] {
        let output = ringway(args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_process_that_waits_for_its_cluster_says_for_what_and_ends_at_once_when_told() {
    let dir = directory("kube-wait");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: 'http://{closed}'}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    );
    let file = dir.join("config");
    fs::write(&file, config).unwrap();
    let args = ["run", "--kube", "--snapshot", "off", "--shards", "1", "--runtime", "epoll"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(args).arg("--kubeconfig").arg(&file).args(["--admin", &admin]);
    command.env_clear().stdout(Stdio::piped()).stderr(Stdio::null());
    let running = Running { child: command.spawn().unwrap(), ready: String::new(), admin };
    while TcpStream::connect(&running.admin).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let why = loop {
        let (code, why) = running.get("/readyz");
        assert_eq!(code, 503);
        if why.contains("away") {
            break why;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(why.contains("not listed yet") && why.contains("HTTPRoute"), "{why}");
    assert_eq!(running.end().0, Some(0));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_core_that_is_not_there_is_wrong_usage() {
    let dir = directory("cores");
    let path = dir.to_str().unwrap();
    let output = ringway(&["run", path, "--admin", "off", "--cores", "4000"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("core 4000"), "{}", text(&output.stderr));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn an_admin_port_in_use_names_its_owner_and_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = directory("taken");
    let output = ringway(&["run", dir.to_str().unwrap(), "--admin", &address]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("--admin"), "{error}");
    assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
    let doctor = ringway(&["doctor", "--json", "--admin", &address]);
    assert_eq!(doctor.status.code(), Some(1));
    let findings: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let port = findings.as_array().unwrap().iter().find(|f| f["name"] == "admin port").unwrap();
    assert_eq!(port["level"], "fail");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn nobody_to_ask_is_said_with_the_remedy() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = ringway(&["status", "--admin", &free]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("ringway run"), "{}", text(&output.stderr));
}

#[test]
fn limits_are_printed() {
    let output = ringway(&["limits"]);
    assert_eq!(output.status.code(), Some(0));
    let out = text(&output.stdout);
    assert!(out.contains("CONNECT_TIMEOUT") && out.contains("--timeout-connect"), "{out}");
}

struct Running {
    child: Child,
    ready: String,
    admin: String,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(args)
            .args(["--admin", "127.0.0.1:0", "--shards", "2", "--runtime", "epoll"])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let ready = loop {
            let Some(Ok(line)) = lines.next() else { panic!("never ready:\n{seen}") };
            if line.starts_with("ready: ") {
                break line;
            }
            seen += &line;
            seen.push('\n');
        };
        // Keep reading, so that the gateway never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        let admin = ready.rsplit(' ').next().unwrap().to_owned();
        Self { child, ready, admin }
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path)
    }

    fn request(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Sends SIGTERM and gives the exit status and what stood on standard output.
    fn end(mut self) -> (Option<i32>, String) {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (self.child.wait().unwrap().code(), out)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `end` this is an error that says it has exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_a_gateway_it_runs_says_so_and_answers_on_the_admin_port() {
    let dir = directory("empty");
    let running = Running::start(&["run", dir.to_str().unwrap()]);
    assert!(running.ready.contains("no listener"), "{}", running.ready);
    assert!(running.ready.contains("shards 2") && running.ready.contains("runtime epoll"));
    assert_eq!(running.get("/livez").0, 200);
    assert_eq!(running.get("/readyz"), (200, "ok\n".to_owned()));
    assert!(running.get("/").1.contains("/metrics"));
    assert!(running.get("/metrics").1.contains("ringway_epoch_installed{shard=\"1\"} 1"));
    assert_eq!(running.get("/nowhere").0, 404);
    assert_eq!(running.request("POST", "/status").0, 405);
    assert_eq!(running.request("HEAD", "/status"), (200, String::new()));
    assert_eq!(running.get("/histograms?format=x").0, 400);
    let status: serde_json::Value = serde_json::from_str(&running.get("/status").1).unwrap();
    assert_eq!(status["ready"], true);
    assert_eq!(status["shards"].as_array().unwrap().len(), 2);
    let shown = ringway(&["status", "--admin", &running.admin]);
    assert!(text(&shown.stdout).contains(": ready"), "{}", text(&shown.stdout));
    let file = dir.join("latency.hlog");
    let fetched = ringway(&["histograms", "--admin", &running.admin, "-o", file.to_str().unwrap()]);
    assert_eq!(fetched.status.code(), Some(0));
    assert!(fs::read_to_string(&file).unwrap().starts_with("#["));
    let (code, out) = running.end();
    assert_eq!(code, Some(0));
    assert!(out.contains("latency since start"), "{out}");
    fs::remove_dir_all(dir).unwrap();
}
