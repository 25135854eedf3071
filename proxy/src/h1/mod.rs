//! The HTTP/1 engine, sans I/O: heads in, heads out, bodies as ranges of the caller's input.
//!
//! It keeps no bytes of its own and knows no sockets. `shards` drives it; `exchange` writes heads
//! with [`encode`]. Invariant: the answer does not depend on how the input was cut into pieces, and
//! after an error nothing behind it in the stream is interpreted.

pub mod body;
pub mod encode;
pub mod error;
mod lines;
pub mod request;
pub mod response;
pub mod scan;
mod trailer;
