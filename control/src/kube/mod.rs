//! Configuration from the Kubernetes API.
//!
//! One watch per kind feeds the store; the control loop builds from it. Started by `main.rs`.
//! Invariant: nothing is ever served from a part of what the API server holds.

mod observed;

pub use observed::{Observed, ObservedStatuses};
