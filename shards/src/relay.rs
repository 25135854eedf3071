//! Bodies from one side to the other, whatever the versions: bounded buffers, back-pressure by turns.
//!
//! A body comes from a [`Source`] piece by piece and goes to a [`Drain`], which takes no more than it
//! can send on. Each direction sends what is at hand before it waits for more, so no more than a
//! block and its framing is ever held. Large plain blocks are sent as they came.

use std::cell::Cell;
use std::io;

use proxy::fault::Fault;
use runtime::Buf;

use crate::capture::Capture;
use crate::cut::Cut;

/// What is at hand of a body. `last`: it ends with this piece, without trailers.
pub(crate) enum Piece<'s> {
    /// Some of its bytes, to be copied.
    Bytes { bytes: &'s [u8], last: bool },
    /// A large block, to be sent on as it is.
    Block { block: Buf, last: bool },
    /// Nothing for now.
    Nothing,
    /// It is complete.
    End,
}

/// Where the body of one message comes from.
pub(crate) trait Source {
    /// What is at hand; the piece before is done with then.
    ///
    /// # Errors
    /// What is wrong with the body.
    fn next(&mut self) -> Result<Piece<'_>, Fault>;

    /// Waits for more.
    ///
    /// # Errors
    /// Why there will be none.
    fn fill(&mut self) -> impl Future<Output = Result<(), Fault>>;

    /// Trailers as lines `name: value CRLF`; empty until the body is complete.
    fn trailers(&self) -> &[u8];
}

impl<S: Source> Source for &mut S {
    fn next(&mut self) -> Result<Piece<'_>, Fault> {
        (**self).next()
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        (**self).fill().await
    }

    fn trailers(&self) -> &[u8] {
        (**self).trailers()
    }
}

/// Where the body of one message goes. Sizes and ends are told by what was said in its head.
pub(crate) trait Drain {
    /// Takes bytes; they may wait for [`Drain::flush`].
    fn write(&mut self, bytes: &[u8], last: bool) -> impl Future<Output = io::Result<()>>;

    /// Takes a received block as it is.
    fn write_block(&mut self, block: Buf, last: bool) -> impl Future<Output = io::Result<()>>;

    /// Sends what was taken.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>>;

    /// More may be long in coming: gives back memory that is there for bytes on their way.
    fn rest(&mut self) {}

    /// Ends the body with its trailers, and sends.
    fn end(&mut self, trailers: &[u8]) -> impl Future<Output = io::Result<()>>;

    /// Ends this direction of a tunnel.
    fn close(&mut self) -> impl Future<Output = io::Result<()>>;
}

/// How an upload ended.
pub(crate) enum UploadEnd {
    /// All of the body went out.
    Whole,
    /// The client's side failed, or the backend takes no more; its answer may say why.
    Partial,
}

/// Relays a response body to the client, which may not have its head yet.
pub(crate) async fn download(
    upstream: &mut impl Source,
    client: &mut impl Drain,
) -> Result<(), Fault> {
    let gone = |_| Fault::ClientGone;
    loop {
        match upstream.next()? {
            Piece::Bytes { bytes, last } => client.write(bytes, last).await.map_err(gone)?,
            Piece::Block { block, last } => client.write_block(block, last).await.map_err(gone)?,
            Piece::Nothing => {
                client.flush().await.map_err(gone)?;
                upstream.fill().await?;
            }
            Piece::End => return client.end(upstream.trailers()).await.map_err(gone),
        }
    }
}

/// Receives a response body for nobody. False: it is not whole, or longer than `bytes_max`.
pub(crate) async fn discard(upstream: &mut impl Source, bytes_max: usize) -> bool {
    let mut taken = 0;
    loop {
        match upstream.next() {
            Ok(Piece::Bytes { bytes, .. }) => taken += bytes.len(),
            Ok(Piece::Block { block, .. }) => taken += block.len(),
            Ok(Piece::End) => return true,
            Ok(Piece::Nothing) => {
                if taken > bytes_max || upstream.fill().await.is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
}

/// What an upload needs beside its two sides.
pub(crate) struct Upload<'u> {
    /// Body bytes moved so far.
    pub(crate) moved: &'u mut u64,
    /// Ends the backend's side when the client's fails, so that nobody waits for it.
    pub(crate) upstream: Cut,
    /// Set before that.
    pub(crate) cut: &'u Cell<Option<Fault>>,
    /// Gets a copy of what goes out, and what would have gone to a backend that takes no more.
    pub(crate) capture: Option<&'u Capture>,
}

/// Relays a request body.
pub(crate) async fn upload(
    client: &mut impl Source,
    upstream: &mut impl Drain,
    task: Upload<'_>,
) -> UploadEnd {
    if let Some(capture) = task.capture {
        capture.begin();
    }
    match pump(client, upstream, task.moved, task.capture).await {
        Ok(true) => UploadEnd::Whole,
        Ok(false) => UploadEnd::Partial,
        Err(fault) => {
            task.cut.set(task.cut.get().or(Some(fault)));
            task.upstream.end();
            UploadEnd::Partial
        }
    }
}

/// Returns whether the backend took all of it.
async fn pump(
    client: &mut impl Source,
    upstream: &mut impl Drain,
    moved: &mut u64,
    capture: Option<&Capture>,
) -> Result<bool, Fault> {
    let mut sending = true;
    loop {
        let sent = match client.next()? {
            Piece::Bytes { bytes, last } => {
                *moved += bytes.len() as u64;
                note(capture, bytes);
                if sending { upstream.write(bytes, last).await } else { Ok(()) }
            }
            Piece::Block { block, last } => {
                *moved += block.len() as u64;
                note(capture, &block);
                if sending { upstream.write_block(block, last).await } else { Ok(()) }
            }
            Piece::Nothing => {
                let sent = if sending { upstream.flush().await } else { Ok(()) };
                sending &= sent.is_ok();
                // A backend that takes no more may be followed by one that does.
                if !sending && !capture.is_some_and(Capture::is_partial) {
                    return Ok(false);
                }
                upstream.rest();
                client.fill().await?;
                Ok(())
            }
            Piece::End => {
                if let Some(capture) = capture {
                    capture.finish(client.trailers());
                }
                return Ok(sending && upstream.end(client.trailers()).await.is_ok());
            }
        };
        sending &= sent.is_ok();
    }
}

fn note(capture: Option<&Capture>, bytes: &[u8]) {
    if let Some(capture) = capture {
        capture.add(bytes);
    }
}

/// One direction of a tunnel, to its end.
pub(crate) async fn pipe(
    from: &mut impl Source,
    to: &mut impl Drain,
    moved: &mut u64,
) -> io::Result<()> {
    let broken = |_| io::Error::from(io::ErrorKind::ConnectionAborted);
    loop {
        match from.next().map_err(broken)? {
            Piece::Bytes { bytes, last } => {
                *moved += bytes.len() as u64;
                to.write(bytes, last).await?;
            }
            Piece::Block { block, last } => {
                *moved += block.len() as u64;
                to.write_block(block, last).await?;
            }
            Piece::Nothing => {
                to.flush().await?;
                from.fill().await.map_err(broken)?;
            }
            Piece::End => return to.close().await,
        }
    }
}
