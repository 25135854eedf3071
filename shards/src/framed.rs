//! Bodies of HTTP/1: taken out of a connection's input and put around what goes out.
//!
//! Both sides use it: [`Unframed`] is the [`Source`] of a message that arrives, [`Framed`] the
//! [`Drain`] of one that leaves. Neither copies more than it must: large blocks pass through.

use std::io;

use proxy::fault::Fault;
use proxy::h1::body::{BodyReader, BodyWriter};
use proxy::http::Framing;
use proxy::limits;
use runtime::{Buf, Size};

use crate::input::Input;
use crate::relay::{Drain, Piece, Source};
use crate::spare;

/// A half that a body is received from: the client's or the backend's.
pub(crate) trait Inlet {
    /// What broken framing means.
    const BROKEN: Fault;
    /// The unread input.
    fn input(&mut self) -> &mut Input;
    /// Receives more. False: the peer has ended its side.
    fn fill(&mut self, size: Size) -> impl Future<Output = io::Result<bool>>;
    /// What it means that there is no more.
    fn failed(&self) -> Fault;
}

/// A half that a body is sent by.
pub(crate) trait Outlet {
    /// Sends all of `out` and gives it back empty.
    fn send(&mut self, out: Vec<u8>) -> impl Future<Output = io::Result<Vec<u8>>>;
    /// Sends all of `before`, which comes back empty, and behind it a received block.
    fn send_block(
        &mut self,
        before: Vec<u8>,
        block: Buf,
    ) -> impl Future<Output = io::Result<Vec<u8>>>;
    /// Ends the sending side.
    fn finish(&mut self) -> impl Future<Output = io::Result<()>>;
}

/// The body of a message that arrives.
#[derive(Debug)]
pub(crate) struct Unframed<I> {
    pub(crate) inlet: I,
    body: BodyReader,
    /// Input bytes of the piece that was given out.
    given: usize,
    size: Size,
}

/// A message that leaves.
#[derive(Debug)]
pub(crate) struct Framed<O> {
    pub(crate) outlet: O,
    /// What waits to be sent: the head, then pieces of the body. Lent for an exchange, so that an
    /// idle connection holds none.
    pub(crate) out: Vec<u8>,
    encoder: BodyWriter,
    /// Bytes of this exchange that went out.
    pub(crate) sent: u64,
}

impl<I: Inlet> Unframed<I> {
    pub(crate) fn new(inlet: I, framing: Framing) -> Self {
        Self { inlet, body: BodyReader::new(framing), given: 0, size: Size::Large }
    }

    /// Everything until the peer ends its side; often nothing for long.
    pub(crate) fn tunnel(inlet: I) -> Self {
        Self { size: Size::Small, ..Self::new(inlet, Framing::UntilClose) }
    }

    /// The body of the head that was read just now begins.
    pub(crate) fn begin(&mut self, framing: Framing) {
        self.body = BodyReader::new(framing);
    }

    /// Decodes up to the next body bytes: the range in the input, and whether they are the last.
    fn decode(&mut self) -> Result<Option<(std::ops::Range<usize>, bool)>, Fault> {
        let input = self.inlet.input();
        input.consume(std::mem::take(&mut self.given));
        while !self.body.is_done() && !input.is_empty() {
            let read = self.body.read(input.bytes()).map_err(|_| I::BROKEN)?;
            if read.consumed == 0 {
                break;
            }
            if !read.data.is_empty() {
                self.given = read.consumed;
                let last = self.body.is_done() && self.body.trailers().is_empty();
                return Ok(Some((read.data, last)));
            }
            input.consume(read.consumed);
        }
        Ok(None)
    }
}

impl<I: Inlet> Source for Unframed<I> {
    #[inline]
    fn next(&mut self) -> Result<Piece<'_>, Fault> {
        let Some((range, last)) = self.decode()? else {
            return Ok(if self.body.is_done() { Piece::End } else { Piece::Nothing });
        };
        let input = self.inlet.input();
        let whole = range.len() == input.bytes().len() && range.len() >= SEND_AS_BLOCK_BYTES_MIN;
        if whole && let Some(block) = input.take_block() {
            self.given = 0;
            return Ok(Piece::Block { block, last });
        }
        Ok(Piece::Bytes { bytes: &self.inlet.input().bytes()[range], last })
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        match self.inlet.fill(self.size).await {
            Ok(true) => Ok(()),
            Ok(false) if self.body.end_of_input() => Ok(()),
            Ok(false) | Err(_) => Err(self.inlet.failed()),
        }
    }

    fn trailers(&self) -> &[u8] {
        self.body.trailers()
    }
}

impl<O: Outlet> Framed<O> {
    pub(crate) fn new(outlet: O) -> Self {
        Self { outlet, out: Vec::new(), encoder: BodyWriter::new(Framing::None), sent: 0 }
    }

    /// Takes or gives back the memory for [`Framed::out`].
    pub(crate) fn lend(&mut self, memory: &mut Vec<u8>) {
        self.out.clear();
        std::mem::swap(&mut self.out, memory);
    }

    /// Sees to memory for [`Framed::out`], which a body that came in pieces has given back.
    #[inline]
    pub(crate) fn ready(&mut self) {
        if self.out.capacity() == 0 {
            self.out = spare::take();
        }
    }

    /// The body of the head that was written just now begins.
    pub(crate) fn begin(&mut self, framing: Framing) {
        self.encoder = BodyWriter::new(framing);
    }

    /// A whole body goes with its head.
    pub(crate) fn put_whole(&mut self, bytes: &[u8], trailers: &[u8]) {
        self.put(bytes);
        self.encoder.finish(trailers, &mut self.out);
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.encoder.before(bytes.len(), &mut self.out);
        self.out.extend_from_slice(bytes);
        self.encoder.after(&mut self.out);
    }
}

impl<O: Outlet> Drain for Framed<O> {
    #[inline]
    async fn write(&mut self, bytes: &[u8], _last: bool) -> io::Result<()> {
        self.ready();
        self.put(bytes);
        if self.out.len() < limits::RELAY_BYTES_MAX { Ok(()) } else { self.flush().await }
    }

    async fn write_block(&mut self, block: Buf, _last: bool) -> io::Result<()> {
        self.encoder.before(block.len(), &mut self.out);
        self.sent += (self.out.len() + block.len()) as u64;
        self.out = self.outlet.send_block(std::mem::take(&mut self.out), block).await?;
        self.encoder.after(&mut self.out);
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.sent += self.out.len() as u64;
            self.out = self.outlet.send(std::mem::take(&mut self.out)).await?;
        }
        Ok(())
    }

    fn rest(&mut self) {
        spare::give(std::mem::take(&mut self.out));
    }

    async fn end(&mut self, trailers: &[u8]) -> io::Result<()> {
        self.ready();
        self.encoder.finish(trailers, &mut self.out);
        self.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.outlet.finish().await
    }
}

/// A piece from this size on is sent as the block it came in.
const SEND_AS_BLOCK_BYTES_MIN: usize = 8 * 1024;
