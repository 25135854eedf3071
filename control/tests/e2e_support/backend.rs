//! A backend that says what it saw, keeps it for the test, and behaves as the path asks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Map, Value, json};

use super::wait_for;

/// Listens until the test process ends.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The requests seen, as JSON.
    seen: Mutex<Vec<Value>>,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Backend {
    /// Answers as `version` on a free port.
    pub(crate) fn start(version: &'static str) -> Self {
        Self::start_on("127.0.0.1", version)
    }

    /// The same on an address of this host.
    pub(crate) fn start_on(ip: &str, version: &'static str) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&own);
                // A peer that leaves ends its own connection only.
                std::thread::spawn(move || serve(stream, version, &shared).unwrap_or(()));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn seen(&self) -> Vec<Value> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// Waits until a request whose path starts with `path` arrived.
    pub(crate) fn wait_seen(&self, path: &str) -> Value {
        wait_for(path, || {
            self.seen()
                .into_iter()
                .find(|request| request["path"].as_str().unwrap().starts_with(path))
        })
    }

    /// Lets requests for `/hold` go on.
    pub(crate) fn release(&self) {
        *self.shared.open.lock().unwrap() = true;
        self.shared.opened.notify_all();
    }
}

fn serve(stream: TcpStream, version: &str, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or("").to_owned();
        let path = words.next().unwrap_or("").to_owned();
        let headers = fields(&mut reader)?;
        let field = |name: &str| headers.get(name).and_then(Value::as_str);
        let mut request = json!({ "version": version, "method": method, "path": path,
            "host": field("host"), "headers": headers });
        if path.starts_with("/early") {
            // Seen before its body came.
            shared.seen.lock().unwrap().push(request.clone());
        }
        let (length, trailers) = body(&mut reader, &headers)?;
        request["body_bytes"] = length.into();
        request["trailers"] = Value::Object(trailers);
        shared.seen.lock().unwrap().push(request.clone());
        if headers.contains_key("upgrade") {
            return upgraded(reader, out, &path);
        }
        answer(&mut out, &path, &request, shared)?;
        if path.starts_with("/until-close") {
            return Ok(());
        }
    }
}

fn fields(reader: &mut impl BufRead) -> std::io::Result<Map<String, Value>> {
    let mut fields = Map::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(fields) };
        fields.insert(name.to_ascii_lowercase(), value.trim().into());
    }
}

fn body(
    reader: &mut impl BufRead,
    headers: &Map<String, Value>,
) -> std::io::Result<(usize, Map<String, Value>)> {
    let mut total = 0;
    if headers.contains_key("transfer-encoding") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            if size == 0 {
                return Ok((total, fields(reader)?));
            }
            reader.read_exact(&mut vec![0; size + 2])?;
            total += size;
        }
    }
    if let Some(length) = headers.get("content-length").and_then(Value::as_str) {
        total = length.parse().map_err(std::io::Error::other)?;
        reader.read_exact(&mut vec![0; total])?;
    }
    Ok((total, Map::new()))
}

fn answer(
    out: &mut TcpStream,
    path: &str,
    request: &Value,
    shared: &Shared,
) -> std::io::Result<()> {
    let body = format!("{request}\n");
    let length = body.len();
    let start = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    match path.split(['?', '/']).nth(1).unwrap_or("") {
        "hold" => {
            let open = shared.open.lock().unwrap();
            drop(shared.opened.wait_while(open, |open| !*open).unwrap());
        }
        "large" => {
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")?;
            let block = vec![b'x'; 64 * 1024];
            for _ in 0..LARGE / block.len() {
                out.write_all(&block)?;
            }
            return Ok(());
        }
        "interim" => out.write_all(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n\
              HTTP/1.1 102 Processing\r\n\r\n",
        )?,
        "interim-flood" => {
            for _ in 0..200 {
                out.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")?;
            }
        }
        "trailers" => {
            return write!(
                out,
                "{start}Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n{length:x}\r\n{body}\r\n0\r\nx-sum: 42\r\n\r\n"
            );
        }
        "chunked" => {
            return write!(
                out,
                "{start}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
            );
        }
        "until-close" => return write!(out, "{start}Connection: close\r\n\r\n{body}"),
        "status" => {
            let code = path.split(['?', '/']).nth(2).unwrap_or("200");
            return write!(out, "HTTP/1.1 {code} E2E\r\nContent-Length: {length}\r\n\r\n{body}");
        }
        _ => {}
    }
    write!(out, "{start}Content-Length: {length}\r\n\r\n{body}")
}

/// Bytes of the body of `/large`: more than all buffers between the two ends.
pub(crate) const LARGE: usize = 64 * 1024 * 1024;

/// Accepts, greets, and echoes until the peer ends; `/chat` and `?once=1` end after the greeting.
fn upgraded(
    mut reader: BufReader<TcpStream>,
    mut out: TcpStream,
    path: &str,
) -> std::io::Result<()> {
    out.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
    )?;
    if path == "/chat" || path.ends_with("?once=1") {
        return Ok(());
    }
    let mut block = [0; 1024];
    loop {
        let n = reader.read(&mut block)?;
        if n == 0 {
            return Ok(());
        }
        out.write_all(&block[..n])?;
    }
}
