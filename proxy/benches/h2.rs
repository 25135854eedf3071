//! Time per request and response of the HTTP/2 engine on this machine, both ends together and the
//! server alone: `cargo bench -p proxy --bench h2`.
//!
//! It prints figures and judges none. The fastest of several rounds is printed, since anything slower
//! was disturbed.

mod timing;

use std::hint::black_box;
use std::time::Instant;

use proxy::h2::{Client, Connection, Event, Local, Message, Server, StreamId};
use proxy::http::{Method, RequestHead, ResponseHead};

use self::timing::{CALLS, time};

/// The server alone gets no window updates.
const WIDE: Local =
    Local { streams_max: 100, stream_window: 65_536, connection_window: 0x7fff_ffff };

type Fields = &'static [(&'static str, &'static str)];

const SMALL: Fields = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/api/v1/items/42"),
    (":authority", "www.example.com"),
    ("accept", "*/*"),
];

const BROWSER: Fields = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/assets/app/main.4f3a9c.js?v=20240501"),
    (":authority", "www.example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "*/*"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://www.example.com/start/page?with=query"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark; consent=1"),
    ("sec-fetch-dest", "script"),
    ("sec-fetch-mode", "no-cors"),
    ("sec-fetch-site", "same-origin"),
];

const ANSWER: Fields = &[
    (":status", "200"),
    ("server", "nginx"),
    ("date", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ("content-type", "text/plain"),
    ("content-length", "13"),
];

fn main() {
    for (name, fields) in [("small", SMALL), ("browser", BROWSER)] {
        let mut pair = Pair::new();
        time(&format!("request and response, both ends, {name}"), || pair.exchange(fields));
        let mut pair = Pair::new();
        assert!(pair.exchange(fields) && pair.exchange(fields) && pair.exchange(fields));
        let per_head = pair.bytes;
        let mut pair = Pair::new();
        let requests = pair.requests(fields, CALLS);
        let mut server = requests.into_iter();
        time_all(&format!("request and response, server, {name}, {per_head} B"), || {
            server.by_ref().take(CALLS as usize).all(|bytes| pair.serve(&bytes))
        });
    }
}

/// Two ends that talk without a network.
struct Pair {
    client: Client,
    server: Server,
    request: RequestHead,
    response: ResponseHead,
    /// Bytes of the last request.
    bytes: usize,
    now: Instant,
}

impl Pair {
    #[allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
    fn new() -> Self {
        Self {
            client: Client::client(WIDE),
            server: Server::server(Local::default()),
            request: RequestHead::default(),
            response: ResponseHead::default(),
            bytes: 0,
            now: Instant::now(),
        }
    }

    fn ask(&mut self, fields: Fields) -> Option<StreamId> {
        self.client.request(Method::Get, false, true, |block| {
            for (name, value) in fields {
                block.field(name.as_bytes(), value.as_bytes());
            }
        })
    }

    fn exchange(&mut self, fields: Fields) -> bool {
        let Some(id) = self.ask(fields) else { return false };
        let mut up = std::mem::take(self.client.output());
        self.bytes = up.len();
        let served = self.serve(black_box(&up));
        up.clear();
        *self.client.output() = up;
        let mut down = std::mem::take(self.server.output());
        let ends = read(&mut self.client, &mut self.response, &down, self.now);
        down.clear();
        *self.server.output() = down;
        self.client.forget(id);
        served && ends == Some(id)
    }

    /// Reads one request and answers it.
    fn serve(&mut self, bytes: &[u8]) -> bool {
        let Some(id) = read(&mut self.server, &mut self.request, bytes, self.now) else {
            return false;
        };
        self.server.send_head(id, false, |block| {
            block.status(200);
            for (name, value) in &ANSWER[1..] {
                block.field(name.as_bytes(), value.as_bytes());
            }
        });
        let sent = self.server.send_data(id, b"Hello, World!", true);
        self.server.forget(id);
        if self.server.is_choked() {
            self.server.output().clear();
        }
        sent == 13
    }

    /// The bytes of so many requests, each written for the state that the ones before left.
    fn requests(&mut self, fields: Fields, count: u32) -> Vec<Vec<u8>> {
        let mut requests = Vec::new();
        for _ in 0..count {
            let Some(id) = self.ask(fields) else { break };
            requests.push(std::mem::take(self.client.output()));
            self.client.forget(id);
            self.client.output().clear();
        }
        requests
    }
}

/// Reads everything; the stream whose message ended.
fn read<M: Message>(
    end: &mut Connection<M>,
    head: &mut M,
    mut input: &[u8],
    now: Instant,
) -> Option<StreamId> {
    let mut ended = None;
    loop {
        let read = end.read(input, head, now).ok()?;
        match read.event {
            Some(Event::Head { stream, end: true } | Event::Data { stream, end: true, .. }) => {
                ended = Some(stream)
            }
            Some(_) => {}
            None if read.consumed == 0 => return ended,
            None => {}
        }
        input = &input[read.consumed..];
    }
}

/// Prints the time of one of the [`CALLS`] calls that `all` makes at once.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn time_all(name: &str, all: impl FnOnce() -> bool) {
    let start = Instant::now();
    assert!(all(), "{name} failed");
    println!("{name:<60} {:>8.0} ns", start.elapsed().as_secs_f64() / f64::from(CALLS) * 1e9);
}
