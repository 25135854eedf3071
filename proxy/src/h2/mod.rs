//! HTTP/2 (RFC 9113), sans I/O: bytes and plain data in, values out.
//!
//! It knows no sockets, clock or routes; `shards` drives it. Header blocks are the business of
//! [`hpack`].

pub mod hpack;
