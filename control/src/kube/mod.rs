//! Configuration from the Kubernetes API.
//!
//! One feed per kind lists and watches (`feed`), objects are decoded one by one (`item`), what
//! matters is told from what does not (`contents`), and the control loop builds from it
//! (`KubeSource`). A snapshot on disk (`archive`) serves while the API server is away at a start.
//! Started by `main.rs`. Invariant: nothing is ever served from a part of what the server holds.

mod archive;
mod client;
mod contents;
mod feed;
mod item;
mod observed;
mod progress;
mod references;
mod release;
mod resource;
mod rhythm;
mod source;
mod watches;
mod wire;

pub use archive::{DIRECTORY_DEFAULT, Keep, PENDING_BYTES_MAX, WRITE_INTERVAL};
pub use client::{
    Access, AccessError, CONNECT_TIMEOUT, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES,
    connect,
};
pub use feed::{MISSING_RETRY, PAGE_OBJECTS, RESUME_FAILURES_MAX, WATCH_SECONDS};
pub use observed::{Observed, ObservedStatuses};
pub use release::RELEASE_INTERVAL;
pub use rhythm::{RETRY_AFTER_MAX, RETRY_MAX, START_INTERVAL};
pub use source::{
    COMPLETE_TIMEOUT, CONTACT_TIMEOUT, KubeSource, LOSS_BELIEVED_MAX, Options, UPDATES_MAX,
};
pub use watches::{Watch, Watches};
pub use wire::{ANSWER_TIMEOUT, LINE_BYTES_MAX, PAGE_BYTES_MAX, SILENCE_MAX};
