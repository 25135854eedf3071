//! The data plane: one pinned thread per core, each with its own sockets, pools, timers and metrics.
//!
//! [`Shards`] is the only `Send` surface: it starts the threads, passes each new epoch down and hands
//! out the [`Report`]s that come up. Everything below it is `!Send` and generic over the runtime.
//! `control`'s `main.rs` is the only caller. Invariant: no shard reads or writes another's state.
#![forbid(unsafe_code)]

pub mod report;

pub use self::report::{Report, Reports};
