//! The vocabulary of the one message that comes up, re-exported in one place.
//!
//! It is not the data plane: nothing here can start or stop a shard. Everything in `control` that
//! reads reports takes the types from here, so that only `main.rs` names the `shards` crate itself.

pub use shards::report::{
    Activity, AuthEnd, Datagrams, Direction, Dropped, Http2Counts, ListenState, ListenerRequests,
    ListenerStreams, MirrorEnd, Phase, Report, Stage, StreamCounts, Transport, transport,
};
