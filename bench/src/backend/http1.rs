//! HTTP/1.1: fixed bodies, keep-alive, pipelining, request bodies drained.
//!
//! Called by `backend`, one task a connection. Invariant: answering a request of a size that this connection has
//! answered before allocates and copies nothing: the whole response is one block that the kernel
//! takes and gives back.

use std::rc::Rc;

use runtime::{Buf, Runtime, Sink as _, Size, Stream as _};

use super::{Answers, wanted};
use crate::http::{self, BadMessage, Body, HEAD_MAX};

/// One response as it goes out, kept for the next request of its size.
#[derive(Debug)]
struct Block {
    size: u64,
    bytes: Vec<u8>,
}

/// One connection.
pub(super) struct Connection<R: Runtime> {
    sink: R::Sink,
    answers: Rc<Answers>,
    block: Block,
    /// A head that came in pieces.
    head: Vec<u8>,
}

impl<R: Runtime> Connection<R> {
    /// A connection that has answered nothing.
    pub(super) fn new(sink: R::Sink, answers: Rc<Answers>) -> Self {
        let bytes = response(answers.body, answers.name.as_deref(), None);
        let block = Block { size: answers.body, bytes };
        Self { sink, answers, block, head: Vec::new() }
    }

    /// Serves until the peer ends it.
    pub(super) async fn serve(mut self, mut stream: R::Stream) -> anyhow::Result<()> {
        let mut body = Body::Done;
        loop {
            let size = if body == Body::Done { Size::Small } else { Size::Large };
            let mut block: Buf = stream.recv(size).await?;
            if block.is_empty() {
                return Ok(());
            }
            while !block.is_empty() {
                if body != Body::Done {
                    let (used, _) = body.take(&block)?;
                    block.advance(used);
                    if body == Body::Done {
                        self.answer().await?;
                    }
                    continue;
                }
                let Some(next) = self.request(&mut block)? else { break };
                body = next;
                if body == Body::Done {
                    self.answer().await?;
                }
            }
        }
    }

    /// Takes a request head off the front of `block`; nothing when it is not complete.
    fn request(&mut self, block: &mut Buf) -> Result<Option<Body>, BadMessage> {
        if self.head.is_empty()
            && let Some(end) = http::head_end(block)
        {
            let body = self.prepare(&block[..end])?;
            block.advance(end);
            return Ok(Some(body));
        }
        let before = self.head.len();
        self.head.extend_from_slice(block);
        let Some(end) = http::head_end(&self.head) else {
            let len = block.len();
            block.advance(len);
            return if self.head.len() > HEAD_MAX {
                Err(BadMessage::HeadTooLong)
            } else {
                Ok(None)
            };
        };
        let head = std::mem::take(&mut self.head);
        let body = self.prepare(&head[..end])?;
        block.advance(end - before);
        self.head = head;
        self.head.clear();
        Ok(Some(body))
    }

    /// Readies the response to a request, and says what body follows the head.
    fn prepare(&mut self, head: &[u8]) -> Result<Body, BadMessage> {
        let size = wanted(http::target(head).unwrap_or_default(), self.answers.body);
        let own = self.answers.name.as_deref();
        if let Some(name) = &self.answers.echo {
            let value = http::field(head, name).unwrap_or(b"none");
            self.block = Block { size, bytes: response(size, own, Some((name, value))) };
        } else if self.block.size != size {
            self.block = Block { size, bytes: response(size, own, None) };
        }
        Ok(Body::of_request(http::framing(head)?))
    }

    async fn answer(&mut self) -> std::io::Result<()> {
        if !self.answers.delay.is_zero() {
            R::sleep_until(R::now() + self.answers.delay).await;
        }
        let bytes = std::mem::take(&mut self.block.bytes);
        self.block.bytes = self.sink.send(bytes).await?;
        Ok(())
    }
}

fn response(size: u64, own_name: Option<&str>, echo: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: application/octet-stream\r\n\
         cache-control: no-store\r\ncontent-length: {size}\r\n"
    )
    .into_bytes();
    if let Some(name) = own_name {
        out.extend_from_slice(b"x-bench-backend: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if let Some((name, value)) = echo {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"-echo: ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend(super::body(size));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_says_its_own_length() {
        let bytes = response(300, Some("a"), Some(("x-epoch", b"7")));
        let end = http::head_end(&bytes).unwrap();
        assert_eq!(http::framing(&bytes[..end]).unwrap().length, Some(300));
        assert_eq!(http::field(&bytes[..end], "x-epoch-echo"), Some(&b"7"[..]));
        assert_eq!(http::field(&bytes[..end], "x-bench-backend"), Some(&b"a"[..]));
        assert_eq!(bytes.len() - end, 300);
    }
}
