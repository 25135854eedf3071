//! HTTP/2 (RFC 9113), sans I/O: bytes and plain data in, values out.
//!
//! It knows no sockets, clock or routes; `shards` drives it. Header blocks are the business of
//! [`hpack`].

mod budget;
mod connection;
mod error;
mod event;
mod flow;
pub mod frame;
mod head;
pub mod hpack;
mod settings;
mod stream;
mod write;

pub use self::connection::Connection;
pub use self::error::{ConnectionError, ErrorCode};
pub use self::event::{Event, Read};
pub use self::head::Message;
pub use self::settings::{Local, Peer};
pub use self::stream::StreamId;
pub use self::write::Fields;

use crate::http::{RequestHead, ResponseHead};

/// The end towards a client: it reads requests.
pub type Server = Connection<RequestHead>;
/// The end towards a backend: it reads responses.
pub type Client = Connection<ResponseHead>;
