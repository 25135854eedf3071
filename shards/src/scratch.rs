//! Reusable memory of exchanges: taken when a request's first bytes arrive, given back when it ends.
//!
//! So a busy shard allocates nothing per request and an idle connection holds nothing.

use std::cell::RefCell;

use proxy::auth::Edits;
use proxy::http::{RequestHead, ResponseHead};

use crate::capture::Body;

/// What one exchange needs.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    /// Towards the backend, then towards the client.
    pub(crate) out: Vec<u8>,
    /// Request body pieces towards the backend while the response may already come.
    pub(crate) upload: Vec<u8>,
    /// The request's body was received ahead of its backend.
    pub(crate) is_received: bool,
    /// That body, until it goes there.
    pub(crate) body: Option<Body>,
    /// What authorization servers want changed of the response.
    pub(crate) edits: Vec<Edits>,
}

/// Free scratches of one shard.
#[derive(Debug, Default)]
pub(crate) struct Scratches {
    #[allow(clippy::vec_box, reason = "moved in and out as a pointer on every request")]
    free: RefCell<Vec<Box<Scratch>>>,
}

impl Scratches {
    pub(crate) fn take(&self) -> Box<Scratch> {
        self.free.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give(&self, mut scratch: Box<Scratch>) {
        let held = scratch.request.arena.capacity()
            + scratch.response.arena.capacity()
            + scratch.out.capacity()
            + scratch.upload.capacity();
        let mut free = self.free.borrow_mut();
        if held <= SCRATCH_KEPT_BYTES_MAX && free.len() < SCRATCHES_FREE_MAX {
            scratch.out.clear();
            scratch.upload.clear();
            scratch.is_received = false;
            scratch.body = None;
            scratch.edits.clear();
            free.push(scratch);
        }
    }
}

const SCRATCH_KEPT_BYTES_MAX: usize = 96 * 1024;
const SCRATCHES_FREE_MAX: usize = 1024;
