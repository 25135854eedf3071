//! The pure part of Ringway: bytes and plain data in, values out.
//!
//! ```text
//! bytes ─► tls ─► h1 ─► http::RequestHead ─► exchange ─► table ─► filter ─► auth ─► balance ─► Step
//! ir ─► epoch (compile) ─► table
//! ```
//!
//! No sockets, clock, threads, globals, randomness or async: time and random seeds are arguments.
//! `control` builds [`ir::Ir`] and compiles it into an [`epoch::Epoch`]; `shards` drives the engines.
//! `proxy` never calls back into either.
#![forbid(unsafe_code)]

pub mod auth;
pub mod balance;
pub mod epoch;
pub mod exchange;
pub mod fault;
pub mod filter;
pub mod h1;
pub mod h2;
pub mod http;
pub mod ir;
pub mod limits;
pub mod proxy_protocol;
pub mod stream;
pub mod table;
pub mod tls;
