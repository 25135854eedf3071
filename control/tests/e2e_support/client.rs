//! Real clients: curl, `openssl s_client`, and sockets written to by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::PATIENCE;

/// Runs a shell line; its standard output, standard error and exit status.
pub(crate) fn sh(line: &str) -> (String, String, Option<i32>) {
    let output = Command::new("sh").args(["-c", line]).output().expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// curl's standard output with head (`-i`); it must succeed.
pub(crate) fn curl(args: &[&str]) -> String {
    let (out, error, code) = try_curl(args);
    assert_eq!(code, Some(0), "curl {args:?}: {error}\n{out}");
    out
}

/// curl, which may fail. It must be installed.
pub(crate) fn try_curl(args: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new("curl")
        .args(["-sS", "-i", "--max-time", "20"])
        .args(args)
        .output()
        .expect("curl is installed: these tests need it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// `openssl s_client` with `input` and its output, or `None` (said aloud) where it is missing.
pub(crate) fn s_client(args: &[&str], input: &str) -> Option<String> {
    let child = Command::new("openssl")
        .arg("s_client")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("NOT RUN: openssl is not installed");
            return None;
        }
        Err(error) => panic!("openssl: {error}"),
    };
    // It may have ended already: then its output says why.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Some(
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    )
}

/// The status of a response that starts `text`.
pub(crate) fn status(text: &str) -> u16 {
    let word = text.split(' ').nth(1).unwrap_or_else(|| panic!("no status line: {text:?}"));
    word.get(..3).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{text:?}"))
}

pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("someone listens");
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `request` on a fresh connection; everything until the close.
pub(crate) fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = connect(address);
    // The other side may refuse before it has read everything.
    let _ = stream.write_all(request);
    rest(&mut stream)
}

/// Reads in spite of interruptions, which a limit on reading makes visible.
pub(crate) fn read(stream: &mut TcpStream, block: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(block) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Everything until the close, which must come.
pub(crate) fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        match read(stream, &mut block) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&block[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A kept connection.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
}

/// One response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        status(&self.head)
    }

    /// A field's value, if it is there.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn says_close(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Conn {
    pub(crate) fn open(address: &str) -> Self {
        Self { stream: connect(address), input: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: e2e.test\r\n\r\n"));
        self.answer()
    }

    /// The next response.
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().expect("a whole answer")
    }

    /// The next response, if it comes whole.
    pub(crate) fn try_answer(&mut self) -> Option<Answer> {
        let head = self.until(b"\r\n\r\n")?;
        let mut answer = Answer { head, body: String::new() };
        if (100..200).contains(&answer.status()) {
            return Some(answer);
        }
        if let Some(length) = answer.field("content-length") {
            let length = length.parse().unwrap();
            answer.body = String::from_utf8_lossy(&self.take(length)?).into_owned();
        } else if answer.field("transfer-encoding").is_some() {
            answer.body = self.chunks()?;
        }
        Some(answer)
    }

    fn chunks(&mut self) -> Option<String> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n")?;
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                while self.until(b"\r\n")?.len() > 2 {}
                return Some(String::from_utf8_lossy(&body).into_owned());
            }
            body.extend(self.take(size)?);
            self.take(2)?;
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut block = [0; 16 * 1024];
        let n = read(&mut self.stream, &mut block).ok().filter(|n| *n > 0)?;
        self.input.extend_from_slice(&block[..n]);
        Some(())
    }

    pub(crate) fn take(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.input.len() < n {
            self.more()?;
        }
        Some(self.input.drain(..n).collect())
    }

    fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|window| window == end) {
                let line: Vec<u8> = self.input.drain(..at + end.len()).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            self.more()?;
        }
    }

    /// What has come but was not taken, then everything until the close.
    pub(crate) fn rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.input)).into_owned()
            + &rest(&mut self.stream)
    }
}
