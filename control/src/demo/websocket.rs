//! The demo's WebSocket backend: it greets, then sends every message back (RFC 6455).
//!
//! `backends.rs` gives it requests that ask for an upgrade. A request for `?once=1` is greeted and
//! closed, for clients that cannot speak themselves. Invariant: a frame longer than
//! [`FRAME_BYTES_MAX`] ends the connection before it is kept.

use std::io;

use aws_lc_rs::digest;
use base64::Engine as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest WebSocket frame (bytes).
const FRAME_BYTES_MAX: u64 = 64 * 1024;

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const NORMAL: &[u8] = &1000_u16.to_be_bytes();

/// The 101 of a request that asks for WebSocket; the conversation follows on a task of its own.
pub(super) fn upgrade(request: &mut Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    let asks = request.headers().get(UPGRADE)?.as_bytes().eq_ignore_ascii_case(b"websocket");
    let key = request.headers().get(SEC_WEBSOCKET_KEY).filter(|_| asks)?;
    let accept = HeaderValue::from_str(&accept(key.as_bytes())).expect("base64 is ASCII");
    let is_once = request.uri().query().is_some_and(|query| query.contains("once=1"));
    tokio::spawn(converse(hyper::upgrade::on(request), is_once));
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Some(response)
}

fn accept(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    base64::engine::general_purpose::STANDARD.encode(hash)
}

async fn converse(upgrade: OnUpgrade, is_once: bool) {
    let spoken = match upgrade.await {
        Ok(upgraded) => speak(&mut TokioIo::new(upgraded), is_once).await,
        Err(error) => Err(io::Error::other(error)),
    };
    if let Err(error) = spoken {
        tracing::debug!("demo backend websocket: {error}");
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, is_once: bool) -> io::Result<()> {
    send(stream, FIN | TEXT, b"hello").await?;
    if is_once {
        send(stream, FIN | CLOSE, NORMAL).await?;
        return stream.shutdown().await;
    }
    loop {
        let (head, payload) = read(stream).await?;
        match head & 0x0f {
            CLOSE => {
                send(stream, head, &payload).await?;
                return stream.shutdown().await;
            }
            PING => send(stream, FIN | PONG, &payload).await?,
            PONG => {}
            _ => send(stream, head, &payload).await?,
        }
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), head: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = vec![head];
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => frame.push(short),
        (_, Ok(middle)) => {
            frame.push(126);
            frame.extend(middle.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    stream.write_all(&frame).await
}

/// A frame of a client: its first byte, and what it holds without the mask.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let head = stream.read_u8().await?;
    let second = stream.read_u8().await?;
    let length = match second & 0x7f {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    if second & 0x80 == 0 || length > FRAME_BYTES_MAX {
        return Err(io::Error::other("a frame without a mask, or too long"));
    }
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await?;
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok((head, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_specification_is_accepted_as_it_says() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    /// What the backend answers to these bytes, until it ends.
    fn conversation(bytes: &[u8], is_once: bool) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = tokio::io::duplex(256 * 1024);
            client.write_all(bytes).await.unwrap();
            client.shutdown().await.unwrap();
            // What comes too early or too long is an error: the client sees the end.
            let _ = speak(&mut server, is_once).await;
            drop(server);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        })
    }

    #[test]
    fn it_greets_and_echoes_until_it_is_closed() {
        // "Hello" and its mask are the specification's; then a ping and a close, not masked by zeros.
        let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        let rest = b"\x89\x81\0\0\0\0!\x88\x82\0\0\0\0\x03\xe8";
        let answer = conversation(&[&hello[..], rest].concat(), false);
        assert_eq!(answer, b"\x81\x05hello\x81\x05Hello\x8a\x01!\x88\x02\x03\xe8");
        assert_eq!(conversation(b"", true), b"\x81\x05hello\x88\x02\x03\xe8");
    }

    #[test]
    fn long_messages_come_back_and_too_long_or_bare_ones_end_it() {
        let middle = [&b"\x82\xfe\x01\x2c\0\0\0\0"[..], &[7; 300]].concat();
        let answer = conversation(&middle, false);
        assert_eq!(answer[7..], [&b"\x82\x7e\x01\x2c"[..], &[7; 300]].concat());
        let long = [&b"\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0"[..], &[7; 65536]].concat();
        assert_eq!(conversation(&long, false).len(), 7 + 10 + 65536);
        assert_eq!(conversation(b"\x82\xff\0\0\0\0\0\x01\0\x01\0\0\0\0", false).len(), 7);
        assert_eq!(conversation(b"\x81\x01x", false).len(), 7);
    }
}
