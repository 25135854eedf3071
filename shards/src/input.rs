//! Bytes received and not yet dealt with: a block as it came, or gathered pieces.
//!
//! The common case keeps the runtime's block and copies nothing; bytes that arrive behind unread
//! ones are gathered. Invariant: `bytes()` is the whole unread input in order.

use runtime::Buf;

/// Unread input of one connection.
#[derive(Debug, Default)]
pub(crate) struct Input {
    block: Option<Buf>,
    gathered: Vec<u8>,
    start: usize,
}

impl Input {
    /// The unread bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.block {
            Some(block) => block,
            None => &self.gathered[self.start..],
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Drops the first `n` unread bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        match &mut self.block {
            Some(block) => {
                block.advance(n);
                if block.is_empty() {
                    self.block = None;
                }
            }
            None => {
                self.start += n;
                if self.start == self.gathered.len() {
                    self.release();
                }
            }
        }
    }

    /// Adds received bytes.
    pub(crate) fn push(&mut self, buf: Buf) {
        if self.is_empty() {
            self.block = Some(buf);
        } else {
            self.gather().extend_from_slice(&buf);
        }
    }

    /// The unread bytes as a vector to append to.
    pub(crate) fn gather(&mut self) -> &mut Vec<u8> {
        if let Some(block) = self.block.take() {
            self.gathered.clear();
            self.start = 0;
            self.gathered.extend_from_slice(&block);
        } else if self.start > 0 {
            // What was read must not pile up in front of what never quite runs out.
            self.gathered.drain(..self.start);
            self.start = 0;
        }
        &mut self.gathered
    }

    /// The whole unread input as one block, if it is one.
    pub(crate) fn take_block(&mut self) -> Option<Buf> {
        self.block.take()
    }

    /// All unread bytes as one block; `None` if there are none.
    pub(crate) fn take(&mut self) -> Option<Buf> {
        if self.is_empty() {
            return None;
        }
        self.take_block().or_else(|| {
            let block = Buf::from(self.bytes());
            self.consume(block.len());
            Some(block)
        })
    }

    /// Empties the vector and gives large memory back: an idle connection holds none.
    fn release(&mut self) {
        self.start = 0;
        if self.gathered.capacity() > GATHERED_KEPT_BYTES_MAX {
            self.gathered = Vec::new();
        } else {
            self.gathered.clear();
        }
    }
}

const GATHERED_KEPT_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_that_never_runs_out_does_not_pile_up() {
        let mut input = Input::default();
        input.gather().extend_from_slice(b"ab");
        for _ in 0..10_000 {
            input.consume(1);
            input.gather().extend_from_slice(b"c");
            assert_eq!(input.bytes().len(), 2);
        }
        assert!(input.gathered.len() <= 3 && input.gathered.capacity() <= 64);
    }
}
