//! Steady requests beside a test, each counted: a client that never gives up and never looks away.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::PATIENCE;

/// Requests in the background until [`Load::stop`].
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Outcome>>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) good: usize,
    /// One line each: a status other than 200, or a connection that ended without an answer.
    pub(crate) bad: Vec<String>,
}

impl Load {
    /// `clients` clients that ask `http://address/path`, each about 200 times a second; every second
    /// client keeps its connection, the others open one per request.
    pub(crate) fn start(address: &str, path: &str, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let request = format!("GET {path} HTTP/1.1\r\nHost: load.test\r\n");
        let clients = (0..clients)
            .map(|client| {
                let (stop, address) = (Arc::clone(&stop), address.to_owned());
                let keeps = client % 2 == 0;
                let last = if keeps { "\r\n" } else { "Connection: close\r\n\r\n" };
                let request = format!("{request}{last}");
                std::thread::spawn(move || ask(&address, &request, keeps, &stop))
            })
            .collect();
        Self { stop, clients }
    }

    pub(crate) fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcome::default();
        for client in self.clients {
            let one = client.join().unwrap();
            all.good += one.good;
            all.bad.extend(one.bad);
        }
        all
    }
}

fn ask(address: &str, request: &str, keeps: bool, stop: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let answer = kept.take().map_or_else(|| connect(address), Ok).and_then(|stream| {
            let (status, stream) = exchange(stream, request)?;
            kept = stream.filter(|_| keeps);
            Ok(status)
        });
        match answer {
            Ok(200) => outcome.good += 1,
            Ok(status) => outcome.bad.push(status.to_string()),
            Err(error) => outcome.bad.push(error.to_string()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    outcome
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One exchange; the connection comes back if the answer lets it live on.
fn exchange(mut stream: TcpStream, request: &str) -> std::io::Result<(u16, Option<TcpStream>)> {
    stream.write_all(request.as_bytes())?;
    let (mut input, mut block) = (Vec::new(), [0; 8192]);
    loop {
        if let Some((status, length, close)) = head(&input)
            && input.len() >= length
        {
            return Ok((status, Some(stream).filter(|_| !close)));
        }
        match stream.read(&mut block) {
            Ok(0) => return Err(std::io::Error::other(format!("cut after {} bytes", input.len()))),
            Ok(n) => input.extend_from_slice(&block[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Status, length of the whole message, and whether the connection ends, once the head is there.
fn head(input: &[u8]) -> Option<(u16, usize, bool)> {
    let end = input.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = field("content-length:").map_or(0, |length| length.parse().unwrap_or(0));
    Some((super::client::status(&head), end + length, field("connection:") == Some("close")))
}
