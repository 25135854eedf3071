//! Writes HTTP/1 heads: plain appends, no allocation beyond the caller's buffer.
//!
//! It checks nothing and decides nothing: `exchange` calls it with what the engine admitted and what
//! the gateway itself wrote. Invariant: names, values and targets go out as they are given.

use crate::http::{Field, Framing, HeadWriter, Version};

/// An HTTP/1 head being appended.
#[derive(Debug)]
pub struct Text<'o>(pub &'o mut Vec<u8>);

impl HeadWriter for Text<'_> {
    /// `METHOD SP target SP HTTP/1.1 CRLF`, and Host.
    #[inline]
    fn request(
        &mut self,
        method: &[u8],
        _scheme: &str,
        authority: impl FnOnce(&mut Vec<u8>),
        target: impl FnOnce(&mut Vec<u8>),
        _hidden: bool,
    ) {
        self.0.extend_from_slice(method);
        self.0.push(b' ');
        target(self.0);
        self.0.extend_from_slice(b" HTTP/1.1\r\n");
        self.field_of(b"host", authority);
    }

    /// `HTTP/1.1 SP status SP reason CRLF`.
    #[inline]
    fn status(&mut self, status: u16, reason: &[u8]) {
        self.0.extend_from_slice(b"HTTP/1.1 ");
        self.0.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
        self.0.push(b' ');
        let reason = if reason.is_empty() { reason_phrase(status).as_bytes() } else { reason };
        self.0.extend_from_slice(reason);
        self.0.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    /// Mostly the line stands in the arena as it is written here.
    #[inline]
    fn copy(&mut self, arena: &[u8], field: &Field) {
        let (start, end) = (field.name.start as usize, field.value.end as usize + 2);
        let is_line = field.value.start == field.name.end + 2
            && arena.get(end - 2..end) == Some(b"\r\n")
            && arena[field.name.end as usize..field.value.start as usize] == *b": ";
        if is_line {
            self.0.extend_from_slice(&arena[start..end]);
        } else {
            self.field(field.name.of(arena), field.value.of(arena));
        }
    }

    #[inline]
    fn field_of(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
        write(self.0);
        self.0.extend_from_slice(b"\r\n");
    }

    /// The one framing field of a message; nothing for [`Framing::None`] and [`Framing::UntilClose`].
    #[inline]
    fn framing(&mut self, framing: Framing) {
        match framing {
            Framing::Length(length) => {
                self.field(b"content-length", itoa::Buffer::new().format(length).as_bytes());
            }
            Framing::Chunked => self.field(b"transfer-encoding", b"chunked"),
            Framing::None | Framing::UntilClose => {}
        }
    }

    fn takes_trailers(&mut self) {
        self.0.extend_from_slice(b"connection: te\r\nte: trailers\r\n");
    }

    fn websocket(&mut self) {
        self.0.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
    }

    #[inline]
    fn persistence(&mut self, version: Version, keep_alive: bool) {
        match (version, keep_alive) {
            (Version::Http11 | Version::Http2, true) => {}
            (Version::Http10, true) => self.field(b"connection", b"keep-alive"),
            (_, false) => self.field(b"connection", b"close"),
        }
    }

    #[inline]
    fn end(&mut self) {
        self.0.extend_from_slice(b"\r\n");
    }

    fn lines(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }
}

macro_rules! phrases {
    ($($status:literal => $phrase:literal,)*) => {
        /// The registered reason phrase, RFC 9110 section 15.
        #[must_use]
        pub fn reason_phrase(status: u16) -> &'static str {
            match status {
                $($status => $phrase,)*
                _ => "",
            }
        }

        /// The same as a line of text.
        #[must_use]
        pub fn reason_line(status: u16) -> &'static str {
            match status {
                $($status => concat!($phrase, "\n"),)*
                _ => "",
            }
        }
    };
}

phrases! {
    100 => "Continue",
    101 => "Switching Protocols",
    102 => "Processing",
    103 => "Early Hints",
    200 => "OK",
    201 => "Created",
    202 => "Accepted",
    203 => "Non-Authoritative Information",
    204 => "No Content",
    205 => "Reset Content",
    206 => "Partial Content",
    300 => "Multiple Choices",
    301 => "Moved Permanently",
    302 => "Found",
    303 => "See Other",
    304 => "Not Modified",
    305 => "Use Proxy",
    307 => "Temporary Redirect",
    308 => "Permanent Redirect",
    400 => "Bad Request",
    401 => "Unauthorized",
    402 => "Payment Required",
    403 => "Forbidden",
    404 => "Not Found",
    405 => "Method Not Allowed",
    406 => "Not Acceptable",
    407 => "Proxy Authentication Required",
    408 => "Request Timeout",
    409 => "Conflict",
    410 => "Gone",
    411 => "Length Required",
    412 => "Precondition Failed",
    413 => "Content Too Large",
    414 => "URI Too Long",
    415 => "Unsupported Media Type",
    416 => "Range Not Satisfiable",
    417 => "Expectation Failed",
    421 => "Misdirected Request",
    422 => "Unprocessable Content",
    425 => "Too Early",
    426 => "Upgrade Required",
    428 => "Precondition Required",
    429 => "Too Many Requests",
    431 => "Request Header Fields Too Large",
    500 => "Internal Server Error",
    501 => "Not Implemented",
    502 => "Bad Gateway",
    503 => "Service Unavailable",
    504 => "Gateway Timeout",
    505 => "HTTP Version Not Supported",
}
