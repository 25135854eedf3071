//! HTTP/2 by prior knowledge: fixed bodies, and unary gRPC that answers with the message it was sent.
//!
//! The engine of the gateway itself frames and reads. Called by `backend`, one task a connection.
//! Invariant: a request is answered when it is whole; request bodies but those of gRPC are dropped.

use proxy::h2::{Event, Local, Server, StreamId};
use proxy::http::RequestHead;
use runtime::{Runtime, Sink as _, Size, Stream as _};

use super::{body, wanted};
use crate::frames::Frames;

/// A message of gRPC that is echoed; a longer one is refused.
const MESSAGE_MAX: usize = 16 << 20;

/// One connection.
pub(super) struct Connection<R: Runtime> {
    sink: R::Sink,
    http2: Server,
    streams: Vec<Stream>,
    /// The body of the last fixed answer, for the next one of its size.
    body: Vec<u8>,
    default: u64,
}

/// A request, and how much of its answer is sent.
struct Stream {
    id: StreamId,
    grpc: bool,
    /// Bytes of the fixed answer.
    size: usize,
    /// The message of gRPC.
    message: Vec<u8>,
    whole: bool,
    begun: bool,
    sent: usize,
}

impl<R: Runtime> Connection<R> {
    /// A connection whose bodies have `default` bytes when the path does not say otherwise.
    pub(super) fn new(sink: R::Sink, default: u64) -> Self {
        let http2 = Server::server(Local::default());
        Self { sink, http2, streams: Vec::new(), body: Vec::new(), default }
    }

    /// Serves until the peer ends it.
    pub(super) async fn serve(mut self, mut stream: R::Stream) -> anyhow::Result<()> {
        let mut head = RequestHead::default();
        let mut input: Vec<u8> = Vec::new();
        let mut out = Vec::new();
        loop {
            while !self.http2.output().is_empty() {
                out.clear();
                std::mem::swap(self.http2.output(), &mut out);
                out = self.sink.send(out).await?;
                self.answer();
            }
            let block = stream.recv(Size::Large).await?;
            if block.is_empty() {
                return Ok(());
            }
            if input.is_empty() {
                let used = self.digest(&block, &mut head)?;
                input.extend_from_slice(&block[used..]);
            } else {
                input.extend_from_slice(&block);
                let used = self.digest(&input, &mut head)?;
                input.drain(..used);
            }
            self.answer();
        }
    }

    /// Takes whole frames in; how many bytes they were.
    fn digest(&mut self, input: &[u8], head: &mut RequestHead) -> anyhow::Result<usize> {
        let now = R::now();
        let mut frames = Frames::of(input);
        while let Some((event, bytes)) = frames.next(&mut self.http2, head, now)? {
            match event {
                Event::Head { stream, end } => self.streams.push(self.asked(stream, end, head)),
                Event::Data { stream, range, end } => {
                    self.http2.release(stream, range.len());
                    if let Some(found) = self.stream(stream) {
                        found.whole = end;
                        if found.grpc {
                            let room = found.message.len() < MESSAGE_MAX;
                            anyhow::ensure!(room, "a message too long");
                            found.message.extend_from_slice(&bytes[range]);
                        }
                    }
                }
                Event::Trailers { stream } => {
                    if let Some(found) = self.stream(stream) {
                        found.whole = true;
                    }
                }
                Event::Refused { stream, .. } | Event::Reset { stream, .. } => {
                    self.http2.forget(stream);
                    self.streams.retain(|found| found.id != stream);
                }
                Event::Rejected { .. }
                | Event::Writable { .. }
                | Event::Settings
                | Event::GoAway { .. }
                | Event::Pong => {}
            }
        }
        Ok(frames.used)
    }

    fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    fn asked(&self, id: StreamId, end: bool, head: &RequestHead) -> Stream {
        let is_grpc = |(name, value, _): (&[u8], &[u8], _)| {
            name == b"content-type" && value.starts_with(b"application/grpc")
        };
        let target = match head.query() {
            Some(query) => format!("{}?{query}", head.path()),
            None => head.path().to_owned(),
        };
        Stream {
            id,
            grpc: head.end_to_end().any(is_grpc),
            size: wanted(target.as_bytes(), self.default) as usize,
            message: Vec::new(),
            whole: end,
            begun: false,
            sent: 0,
        }
    }

    /// Answers what is whole, as far as the windows allow.
    fn answer(&mut self) {
        let Self { http2, streams, body: fixed, .. } = self;
        for stream in streams.iter_mut().filter(|stream| stream.whole) {
            if !stream.grpc && fixed.len() != stream.size {
                fixed.clear();
                fixed.extend(body(stream.size as u64));
            }
            stream.answer(http2, fixed);
        }
        streams.retain(|stream| {
            let over = stream.whole && stream.sent == stream.length() && stream.begun;
            if over {
                http2.forget(stream.id);
            }
            !over
        });
    }
}

impl Stream {
    fn length(&self) -> usize {
        if self.grpc { self.message.len() } else { self.size }
    }

    fn answer(&mut self, http2: &mut Server, fixed: &[u8]) {
        if !self.begun {
            self.begun = true;
            let grpc = self.grpc;
            let length = self.size;
            http2.send_head(self.id, !grpc && length == 0, |block| {
                block.status(200);
                if grpc {
                    block.field(b"content-type", b"application/grpc");
                } else {
                    block.field(b"server", b"bench");
                    block.field(b"content-type", b"application/octet-stream");
                    block.field(b"cache-control", b"no-store");
                    block.field(b"content-length", length.to_string().as_bytes());
                }
            });
        }
        let bytes = if self.grpc { &self.message[self.sent..] } else { &fixed[self.sent..] };
        if !bytes.is_empty() {
            self.sent += http2.send_data(self.id, bytes, !self.grpc);
        }
        if self.grpc && self.sent == self.message.len() {
            http2.send_trailers(self.id, |block| block.field(b"grpc-status", b"0"));
        }
    }
}
