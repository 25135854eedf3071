//! Bodies from one side to the other: bounded buffers, back-pressure by turns.
//!
//! Each direction receives a block, re-frames it, sends it, and only then receives the next, so no
//! more than a block and its framing is ever held. Large plain blocks are sent as they came.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use proxy::fault::Fault;
use proxy::h1;
use proxy::h1::body::{BodyReader, BodyWriter};
use proxy::http::Framing;
use proxy::limits;
use runtime::{Abort, Runtime, Size};

use crate::capture::Capture;
use crate::downstream::{Reader, Writer};
use crate::input::Input;
use crate::transport::{RecvHalf, SendHalf};

/// The receiving half of an upstream connection, with its unread input.
pub(crate) struct Incoming<'u, R: Runtime> {
    pub(crate) half: &'u mut RecvHalf<R>,
    pub(crate) input: &'u mut Input,
    /// Set when we end the connection: its end of input then proves nothing.
    pub(crate) cut: &'u Cell<Option<Fault>>,
}

/// How an upload ended.
pub(crate) enum UploadEnd {
    /// All of the body went out; the buffer comes back.
    Whole(Vec<u8>),
    /// The client's side failed.
    Failed(Fault),
    /// The backend takes no more; its answer may say why.
    Refused,
}

impl<R: Runtime> Incoming<'_, R> {
    /// Receives more. False: FIN.
    pub(crate) async fn fill(&mut self, size: Size) -> io::Result<bool> {
        let more = self.half.fill(size, self.input).await?;
        if !more && self.is_cut() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(more)
    }

    /// Nothing is left over behind the response, and the connection was not ended by us.
    pub(crate) fn is_clean(&self) -> bool {
        self.input.is_empty() && !self.is_cut()
    }

    fn is_cut(&self) -> bool {
        self.cut.get().is_some()
    }
}

/// Receives a response body for nobody. False: it is not whole, or longer than `bytes_max`.
pub(crate) async fn discard<R: Runtime>(
    upstream: &mut Incoming<'_, R>,
    framing: Framing,
    bytes_max: usize,
) -> bool {
    let mut body = BodyReader::new(framing);
    let mut taken = 0;
    loop {
        while !upstream.input.is_empty() && !body.is_done() {
            match body.read(upstream.input.bytes()) {
                Ok(read) if read.consumed > 0 => {
                    taken += read.consumed;
                    upstream.input.consume(read.consumed);
                }
                Ok(_) => break,
                Err(_) => return false,
            }
        }
        if body.is_done() {
            return true;
        }
        if taken > bytes_max {
            return false;
        }
        if !upstream.fill(Size::Large).await.unwrap_or(false) {
            return body.end_of_input();
        }
    }
}

/// Relays a response body. `out` already holds the head; it comes back empty.
pub(crate) async fn download<R: Runtime>(
    writer: &mut Writer<R>,
    upstream: &mut Incoming<'_, R>,
    body: &mut BodyReader,
    encoder: &mut BodyWriter,
    mut out: Vec<u8>,
    moved: &mut u64,
) -> Result<Vec<u8>, Fault> {
    loop {
        while !upstream.input.is_empty() && !body.is_done() {
            let bytes = upstream.input.bytes();
            let read = body.read(bytes).map_err(|_| Fault::UpstreamTruncated)?;
            let length = read.data.len();
            if read.consumed == 0 {
                break;
            }
            if length == bytes.len() && length >= SEND_AS_BLOCK_BYTES_MIN {
                encoder.before(length, &mut out);
                out = flush(writer, out, moved).await?;
                out = send_all(writer, upstream.input, out, moved).await?;
                encoder.after(&mut out);
            } else {
                encode(encoder, &bytes[read.data], &mut out);
                upstream.input.consume(read.consumed);
            }
            if out.len() >= limits::RELAY_BYTES_MAX {
                out = flush(writer, out, moved).await?;
            }
        }
        if !body.is_done() {
            out = flush(writer, out, moved).await?;
            let more = upstream.fill(Size::Large).await.map_err(|_| Fault::UpstreamTruncated)?;
            if more {
                continue;
            }
            if !body.end_of_input() {
                return Err(Fault::UpstreamTruncated);
            }
        }
        encoder.finish(body.trailers(), &mut out);
        return flush(writer, out, moved).await;
    }
}

/// Sends the whole unread input, as the block it came in where it is one.
async fn send_all<R: Runtime>(
    writer: &mut Writer<R>,
    input: &mut Input,
    mut out: Vec<u8>,
    moved: &mut u64,
) -> Result<Vec<u8>, Fault> {
    match input.take_block() {
        Some(block) => {
            *moved += block.len() as u64;
            writer.send_block(block).await.map_err(|_| Fault::ClientGone)?;
            Ok(out)
        }
        None => {
            out.extend_from_slice(input.bytes());
            input.consume(input.bytes().len());
            flush(writer, out, moved).await
        }
    }
}

async fn flush<R: Runtime>(
    writer: &mut Writer<R>,
    out: Vec<u8>,
    moved: &mut u64,
) -> Result<Vec<u8>, Fault> {
    if out.is_empty() {
        return Ok(out);
    }
    *moved += out.len() as u64;
    writer.send(out).await.map_err(|_| Fault::ClientGone)
}

/// What an upload needs beside its two halves.
pub(crate) struct Upload<'u> {
    /// Framing, the same on both sides.
    pub(crate) framing: Framing,
    /// Body bytes moved so far.
    pub(crate) moved: &'u mut u64,
    /// The least rate is held over this time.
    pub(crate) window: Duration,
    /// Ends the upstream connection when the client's side fails, so that nobody waits for it.
    pub(crate) upstream: Abort,
    /// Set before that.
    pub(crate) cut: &'u Cell<Option<Fault>>,
    /// Gets a copy of what goes out, and what would have gone to a backend that takes no more.
    pub(crate) capture: Option<&'u Capture>,
}

/// Relays a request body, holding the client to the least rate.
pub(crate) async fn upload<R: Runtime>(
    client: &mut Reader<R>,
    sink: &mut SendHalf<R>,
    out: Vec<u8>,
    task: Upload<'_>,
) -> UploadEnd {
    let (upstream, cut) = (task.upstream.clone(), task.cut);
    if let Some(capture) = task.capture {
        capture.begin();
    }
    let end = pump::<R>(client, sink, out, task).await;
    client.deadline.clear();
    if let UploadEnd::Failed(fault) = end {
        cut.set(cut.get().or(Some(fault)));
        upstream.abort();
    }
    end
}

async fn pump<R: Runtime>(
    client: &mut Reader<R>,
    sink: &mut SendHalf<R>,
    mut out: Vec<u8>,
    task: Upload<'_>,
) -> UploadEnd {
    let mut body = BodyReader::new(task.framing);
    let mut encoder = BodyWriter::new(task.framing);
    let quota = limits::body_bytes_min(task.window);
    // Bytes and time of the current window; time in which the backend takes none is not counted.
    let (mut in_window, mut waited) = (0, Duration::ZERO);
    let mut sending = true;
    loop {
        let Ok(moved) = decode(&mut client.input, &mut body, &mut encoder, &mut out) else {
            return UploadEnd::Failed(Fault::Malformed(400));
        };
        *task.moved += moved;
        if body.is_done() {
            encoder.finish(body.trailers(), &mut out);
        }
        if !out.is_empty() {
            if let Some(capture) = task.capture {
                capture.add(&out);
            }
            // The time that the backend takes is not the client's.
            client.deadline.clear();
            if sending {
                match sink.send(out).await {
                    Ok(sent) => out = sent,
                    Err(_) => (sending, out) = (false, Vec::new()),
                }
            }
            out.clear();
        }
        if body.is_done() {
            if let Some(capture) = task.capture {
                capture.finish();
            }
            return if sending { UploadEnd::Whole(out) } else { UploadEnd::Refused };
        }
        // A backend that takes no more may be followed by one that does.
        if !sending && !task.capture.is_some_and(Capture::is_partial) {
            return UploadEnd::Refused;
        }
        if in_window >= quota {
            (in_window, waited) = (0, Duration::ZERO);
        }
        let since = R::now();
        client.deadline.set_for_reading(since + task.window.saturating_sub(waited));
        let before = client.input.bytes().len();
        let filled = client.fill(Size::Large).await;
        waited += R::now().saturating_duration_since(since);
        match filled {
            Ok(true) => in_window += (client.input.bytes().len() - before) as u64,
            Ok(false) | Err(_) if client.deadline.fired() => {
                return UploadEnd::Failed(Fault::BodyTooSlow);
            }
            Ok(false) | Err(_) => return UploadEnd::Failed(Fault::ClientGone),
        }
    }
}

/// Re-frames everything that can be decoded; returns the body bytes among it.
fn decode(
    input: &mut Input,
    body: &mut BodyReader,
    encoder: &mut BodyWriter,
    out: &mut Vec<u8>,
) -> Result<u64, h1::error::Error> {
    let mut moved = 0;
    while !input.is_empty() && !body.is_done() {
        let read = body.read(input.bytes())?;
        if read.consumed == 0 {
            break;
        }
        moved += read.data.len() as u64;
        encode(encoder, &input.bytes()[read.data], out);
        input.consume(read.consumed);
    }
    Ok(moved)
}

fn encode(encoder: &mut BodyWriter, data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        encoder.before(data.len(), out);
        out.extend_from_slice(data);
        encoder.after(out);
    }
}

/// A piece from this size on is sent as the block it came in.
const SEND_AS_BLOCK_BYTES_MIN: usize = 8 * 1024;
