//! A small world around real shards: a configuration in code, a recording backend, raw clients.
//!
//! Blocking sockets and threads on purpose: the code under test is the only clever part.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "tests are not shards")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod pki;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proxy::epoch::{Epoch, Settings};
use proxy::ir;
use shards::report::Phase;
use shards::{Backend, Options, Report, Reports, Shards};

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
pub(crate) const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x.example\r\n\r\n";
pub(crate) const GET_CLOSE: &[u8] =
    b"GET /a HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n";

/// A configuration that sends everything to `backend`.
pub(crate) fn one(backend: &Recorded) -> ir::Ir {
    config(vec![rule("/", &[("b", 1)])], &[("b", vec![backend.address])])
}

/// Every runtime that can run here; says so where one cannot.
pub(crate) fn backends() -> Vec<Backend> {
    let mut all = vec![Backend::Epoll];
    match runtime::probe::uring() {
        Ok(_) => all.extend([Backend::Monoio, Backend::Glommio]),
        Err(error) => eprintln!("NOT RUN on monoio and glommio: {error}"),
    }
    all
}

/// One shard that nothing limits.
pub(crate) fn options(backend: Backend) -> Options {
    Options {
        cores: vec![None],
        backend,
        seed: 7,
        ticket_seed: [7; 32],
        system_roots: Vec::new(),
        connections_max: 10_000,
        udp_sessions_max: 10_000,
        udp_sessions_shard_max: 10_000,
    }
}

/// Running shards with one plain port.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) reports: Reports,
    pub(crate) seen: Vec<Report>,
    pub(crate) shards: Shards,
}

impl World {
    pub(crate) fn start(backend: Backend, ir: &ir::Ir, settings: Settings) -> Self {
        let (shards, reports) = Shards::start(&options(backend)).expect("shards start");
        let port = ir.ports[0].port;
        let epoch = Arc::new(Epoch::compile(1, ir, settings, None));
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let mut world = Self { address, epoch, reports, seen: Vec::new(), shards };
        world.publish(world.epoch.clone());
        world
    }

    /// Publishes and waits until it is installed.
    pub(crate) fn publish(&mut self, epoch: Arc<Epoch>) {
        let id = epoch.id;
        self.epoch = epoch.clone();
        self.shards.publish(epoch);
        let report = self.wait_for(|report| report.installed >= id);
        for state in &report.listeners {
            assert_eq!(state.error, None, "listens on {}", state.address);
        }
    }

    /// Publishes the epoch after the present one, with this configuration.
    pub(crate) fn follow(&mut self, ir: &ir::Ir, settings: Settings) {
        let next = Epoch::compile(self.epoch.id + 1, ir, settings, Some(&self.epoch));
        self.publish(Arc::new(next));
    }

    /// The next report that satisfies `wanted`, within ten seconds.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&Report) -> bool) -> Report {
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            wait_readable(&self.reports, limit);
            self.reports.clear_wake();
            while let Some(report) = self.reports.try_next() {
                if wanted(&report) {
                    return report;
                }
                self.seen.push(report);
            }
            assert!(Instant::now() < limit, "no such report among {}", self.seen.len());
        }
    }

    /// Drains and joins.
    pub(crate) fn stop(mut self) {
        let mut epoch = Epoch::empty();
        epoch.id = self.epoch.id + 1;
        epoch.settings.drain = Some(Duration::ZERO);
        self.shards.publish(Arc::new(epoch));
        self.wait_for(|report| report.phase == Phase::Ended);
        self.shards.join();
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the shard listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends `request` on a fresh connection and returns everything until the close.
    pub(crate) fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read_to_end(&mut stream)
    }
}

/// Waits until `exchanges` have ended and nobody is connected; returns the access log.
pub(crate) fn settle(world: &mut World, exchanges: usize) -> String {
    loop {
        let last = world.wait_for(|report| report.connections == 0);
        world.seen.push(last);
        let lines = world.seen.iter().flat_map(|report| report.activity.access_log.iter().copied());
        let log = String::from_utf8(lines.collect()).unwrap();
        if log.lines().count() >= exchanges {
            return log;
        }
    }
}

fn wait_readable(reports: &Reports, limit: Instant) {
    // A dozen lines of poll(2) would need a dependency: look every millisecond instead.
    let _ = reports.as_fd();
    if Instant::now() < limit {
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    loop {
        match stream.read(&mut block) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&block[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                bytes.extend_from_slice(b"<RST>");
                break;
            }
            Err(error) => panic!("{error}; so far {}", bytes.escape_ascii()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Like `read`, but goes on after a signal: rings of this process interrupt reads with a timeout.
pub(crate) fn read_some(stream: &mut TcpStream, block: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(block) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Reads until `stream` has given a whole message that ends with `end`.
pub(crate) fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    while !bytes.ends_with(end.as_bytes()) {
        let n = read_some(stream, &mut block).unwrap_or_else(|error| {
            panic!("{error}; wanted {end:?}, so far {}", bytes.escape_ascii())
        });
        assert!(n > 0, "closed; wanted {end:?}, so far {}", bytes.escape_ascii());
        bytes.extend_from_slice(&block[..n]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A backend that records every byte and answers each connection by a script.
pub(crate) struct Recorded {
    pub(crate) address: SocketAddr,
    pub(crate) bytes: Arc<Mutex<Vec<u8>>>,
    pub(crate) connections: Arc<Mutex<usize>>,
}

impl Recorded {
    /// Runs `serve` for every connection; it gets the stream and its number, counted from 0.
    pub(crate) fn start(serve: impl Fn(Tap, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let serve = Arc::new(serve);
        let (record, count) = (Arc::clone(&bytes), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let number = *count.lock().unwrap();
                *count.lock().unwrap() += 1;
                let tap = Tap { stream, record: Arc::clone(&record) };
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(tap, number));
            }
        });
        Self { address, bytes, connections }
    }

    /// Answers every head (and its Content-Length body) with `response`.
    pub(crate) fn always(response: &'static str) -> Self {
        Self::after(Duration::ZERO, response)
    }

    /// The same, each time after `delay`.
    pub(crate) fn after(delay: Duration, response: &'static str) -> Self {
        Self::start(move |mut tap, _| {
            while tap.request().is_some() {
                thread::sleep(delay);
                tap.write(response.as_bytes());
            }
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}

/// A backend's end of a connection.
pub(crate) struct Tap {
    pub(crate) stream: TcpStream,
    record: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    pub(crate) fn read(&mut self) -> Option<Vec<u8>> {
        let mut block = vec![0; 65536];
        match read_some(&mut self.stream, &mut block) {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                block.truncate(n);
                self.record.lock().unwrap().extend_from_slice(&block);
                Some(block)
            }
        }
    }

    /// Reads one request: its head and, by Content-Length or chunked coding, its body.
    pub(crate) fn request(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map(|value| value.parse::<usize>().unwrap());
                let chunked = head.contains("transfer-encoding: chunked");
                let last = body.starts_with("0\r\n") || body.contains("\r\n0\r\n");
                let whole = match length {
                    Some(length) => body.len() >= length,
                    None => !chunked || (last && body.ends_with("\r\n\r\n")),
                };
                if whole {
                    return Some(text);
                }
            }
            bytes.extend(self.read()?);
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // The gateway may have closed: what it then told its client is what tests look at.
        self.stream.write_all(bytes).ok();
    }
}

/// A configuration with one plain port on a free number, one host-less listener, one route whose
/// rules are `rules`, and the backends it names.
pub(crate) fn config(rules: Vec<ir::Rule>, backends: &[(&str, Vec<SocketAddr>)]) -> ir::Ir {
    let route = ir::Route { name: "default/route".into(), created: 0, grpc: false, rules };
    let listener = ir::Listener {
        name: "default/gateway/http".into(),
        port: 80,
        routes: vec![ir::AttachedRoute { hostnames: Vec::new(), route: Arc::new(route) }],
        ..ir::Listener::default()
    };
    let backends: BTreeMap<Arc<str>, Arc<ir::Backend>> = backends
        .iter()
        .map(|(name, endpoints)| {
            let endpoints = endpoints.clone();
            let backend = ir::Backend { websocket: true, endpoints, ..ir::Backend::default() };
            ((*name).into(), Arc::new(backend))
        })
        .collect();
    let port = ir::Port {
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        is_anywhere: false,
        port: free_port(),
        protocol: ir::Protocol::Http,
        proxy_protocol: None,
        listeners: vec![listener],
    };
    ir::Ir { ports: vec![port], backends }
}

/// A rule for everything below `prefix`.
pub(crate) fn rule(prefix: &str, backends: &[(&str, u32)]) -> ir::Rule {
    ir::Rule {
        matches: vec![ir::Match {
            path: ir::PathMatch::Prefix(prefix.into()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        }],
        backends: backends
            .iter()
            .map(|(name, weight)| ir::BackendRef {
                target: ir::Target::Backend((*name).into()),
                weight: *weight,
                filters: Vec::new(),
            })
            .collect(),
        ..ir::Rule::default()
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
