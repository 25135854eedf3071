//! HTTP/2 by hand: frames as bytes, for what no other implementation would send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field whose name and value stand in the block itself, neither indexed nor compressed.
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    assert!(name.len() < 127 && value.len() < 127);
    [&[0, name.len() as u8], name, &[value.len() as u8], value].concat()
}

/// The fields that every request has, then `more`.
pub(crate) fn request(method: &[u8], path: &[u8], more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let pseudo: [(&[u8], &[u8]); 4] = [
        (b":method", method),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x.example"),
    ];
    pseudo.iter().chain(more).flat_map(|(name, value)| literal(name, value)).collect()
}

/// The next frame; `None` at the end of input.
pub(crate) fn read_frame(stream: &mut TcpStream) -> Option<Frame> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).ok()?;
    let number = [header[5] & 0x7f, header[6], header[7], header[8]];
    let stream = u32::from_be_bytes(number);
    Some(Frame { kind: header[3], flags: header[4], stream, payload })
}

/// The next frame of this kind, if one comes before the end.
pub(crate) fn read_kind(stream: &mut TcpStream, kind: u8) -> Option<Frame> {
    std::iter::from_fn(|| read_frame(stream)).find(|frame| frame.kind == kind)
}

impl Frame {
    /// The four bytes at `at`, of a code or a number.
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A backend that does what `serve` says with each connection, whose preface it has read; the number of
/// the connection is counted from 0.
pub(crate) fn backend(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || {
                let mut stream = stream;
                let mut preface = [0; PREFACE.len()];
                if stream.read_exact(&mut preface).is_ok() {
                    stream.set_nodelay(true).unwrap();
                    serve(stream, number);
                }
            });
        }
    });
    address
}

/// Sends SETTINGS without any setting and acknowledges the peer's.
pub(crate) fn settle(stream: &mut TcpStream) {
    let both = [frame(SETTINGS, 0, 0, b""), frame(SETTINGS, ACK, 0, b"")].concat();
    stream.write_all(&both).unwrap();
}
