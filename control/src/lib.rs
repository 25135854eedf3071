//! The control thread: Gateway API objects in, epochs out, reports back, and everything an operator sees.
//!
//! `main.rs` is the only place that names `shards::Shards`; the library knows the shards by the
//! message they send up ([`report`]) and by the sink that epochs go to ([`controller::EpochSink`]).
#![forbid(unsafe_code)]

pub mod access_log;
pub mod admin;
pub mod api;
mod backoff;
pub mod check;
pub mod cli;
mod complaints;
pub mod controller;
pub mod demo;
pub mod docs;
pub mod doctor;
pub mod files;
pub mod histograms;
pub mod kube;
pub mod lease;
pub mod limits;
mod listening;
pub mod metrics;
mod pace;
pub mod report;
pub mod resolve;
pub mod source;
pub mod state;
pub mod status;
pub mod store;
pub mod translate;
pub mod yaml;
