//! Hostile HTTP/2: what each kind of abuse sends, as bytes.
//!
//! Pure; sends nothing. Called through the table of [`super::kinds`]. Invariant: every byte is a whole
//! frame of the kind that the function names, so that what the gateway does about it is about the
//! abuse and not about a mistake here (the tests read all frames back).

use proxy::h2::ErrorCode;
use proxy::h2::frame::{self, END_HEADERS, END_STREAM, Header, Kind, PREFACE};
use proxy::limits;

use super::kinds::garbage;
use super::stage::{HANG, HOST, LARGE, SMALL};

/// Streams that one connection opens and holds: what the gateway permits at once.
const STREAMS: u32 = limits::H2_STREAMS_MAX;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW_SIZE: u16 = 4;
/// Each stream's share of the connection's window.
const STUCK_BYTES: usize = (limits::H2_CONNECTION_WINDOW_BYTES / STREAMS) as usize;
const GET: u8 = 0x82;
const POST: u8 = 0x83;
/// The entry that was inserted last, as a whole field.
const NEWEST: u8 = 0xbe;

fn frame_of(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame::HEADER_BYTES + payload.len());
    Header { length: payload.len(), kind, flags, stream }.write(&mut out);
    out.extend_from_slice(payload);
    out
}

/// An integer of HPACK, RFC 7541 section 5.1.
fn integer(pattern: u8, prefix: u32, value: usize) -> Vec<u8> {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        return vec![pattern | value as u8];
    }
    let mut out = vec![pattern | mask as u8];
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&integer(0, 7, bytes.len())[..], bytes].concat()
}

/// A field that goes into the dynamic table.
fn inserted(name: &[u8], value: &[u8]) -> Vec<u8> {
    [vec![0x40], text(name), text(value)].concat()
}

/// The field block of a good request; it touches no table.
fn request(method: u8, path: &str) -> Vec<u8> {
    [vec![method, 0x86, 0x04], text(path.as_bytes()), vec![0x01], text(HOST.as_bytes())].concat()
}

/// HEADERS of a good request.
fn headers(stream: u32, method: u8, path: &str, end: bool) -> Vec<u8> {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame_of(Kind::Headers, flags, stream, &request(method, path))
}

/// The nth stream of a client.
fn stream(n: u32) -> u32 {
    2 * n + 1
}

fn open(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    frame::write_settings(settings, &mut out);
    out
}

/// Preface and empty settings.
pub(super) fn preface() -> Vec<u8> {
    open(&[])
}

/// One good request.
pub(super) fn idle() -> Vec<u8> {
    [preface(), headers(1, GET, SMALL, true)].concat()
}

/// CVE-2023-44487: a request and its cancellation.
pub(super) fn rapid_reset(n: u32) -> Option<Vec<u8>> {
    let code = (ErrorCode::Cancel as u32).to_be_bytes();
    let reset = frame_of(Kind::RstStream, 0, stream(n), &code);
    Some([headers(stream(n), GET, SMALL, true), reset].concat())
}

/// CVE-2025-8671: a request, and a frame that makes the server reset its stream.
pub(super) fn made_you_reset(n: u32) -> Option<Vec<u8>> {
    let number = |value: u32| frame_of(Kind::WindowUpdate, 0, stream(n), &value.to_be_bytes());
    let fault = match n % 3 {
        0 => number(0),
        1 => number(0x7fff_ffff),
        _ => frame_of(Kind::Priority, 0, stream(n), &[0]),
    };
    Some([headers(stream(n), GET, SMALL, true), fault].concat())
}

/// HEADERS that do not end.
pub(super) fn continuation_open() -> Vec<u8> {
    [preface(), frame_of(Kind::Headers, END_STREAM, 1, &request(GET, SMALL))].concat()
}

/// One more piece of the field block that never ends.
pub(super) fn continuation(n: u32) -> Option<Vec<u8>> {
    let field = [vec![0], text(b"x"), text(&n.to_be_bytes().map(|b| b'a' + b % 26))].concat();
    Some(frame_of(Kind::Continuation, 0, 1, &field))
}

/// One entry of almost a whole table, then fields that are that entry, again and again.
pub(super) fn hpack_bomb(n: u32) -> Option<Vec<u8>> {
    repeated(n, &inserted(b"x-bomb", &[b'b'; 4000]), 64)
}

/// One `cookie` crumb of almost a whole table, then the same crumb again and again.
pub(super) fn cookie_crumbs(n: u32) -> Option<Vec<u8>> {
    repeated(n, &inserted(b"cookie", &[b'c'; 4000]), 1000)
}

/// The first block inserts `entry`; every block names it so many times.
fn repeated(n: u32, entry: &[u8], times: usize) -> Option<Vec<u8>> {
    let mut block = request(GET, SMALL);
    if n == 0 {
        block.extend_from_slice(entry);
    }
    block.resize(block.len() + times, NEWEST);
    Some(frame_of(Kind::Headers, END_HEADERS | END_STREAM, stream(n), &block))
}

/// SETTINGS, each of which wants an acknowledgement.
pub(super) fn settings(n: u32) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    frame::write_settings(&[(INITIAL_WINDOW_SIZE, 65_535 + n % 2)], &mut out);
    Some(out)
}

/// PING, each of which wants an answer.
pub(super) fn ping(n: u32) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    frame::write_ping(0, u64::from(n).to_be_bytes(), &mut out);
    Some(out)
}

/// A request whose body is about to come.
pub(super) fn upload_open() -> Vec<u8> {
    [preface(), headers(1, POST, SMALL, false)].concat()
}

/// DATA without content that does not end the body.
pub(super) fn empty_data(_: u32) -> Option<Vec<u8>> {
    Some(frame_of(Kind::Data, 0, 1, &[]))
}

/// PRIORITY of ever other streams.
pub(super) fn priority(n: u32) -> Option<Vec<u8>> {
    let stream = stream(n % 1_000_000);
    Some(frame_of(Kind::Priority, 0, stream, &[0, 0, 0, 0, (n % 256) as u8]))
}

/// WINDOW_UPDATE by one byte.
pub(super) fn window_update(_: u32) -> Option<Vec<u8>> {
    Some(frame_of(Kind::WindowUpdate, 0, 0, &1_u32.to_be_bytes()))
}

/// All streams ask for a large answer, and no window is granted.
pub(super) fn zero_window() -> Vec<u8> {
    let asked = (0..STREAMS).flat_map(|n| headers(stream(n), GET, LARGE, true));
    [open(&[(INITIAL_WINDOW_SIZE, 0)]), asked.collect()].concat()
}

/// One byte of window for one stream after the other.
pub(super) fn window_drip(n: u32) -> Option<Vec<u8>> {
    Some(frame_of(Kind::WindowUpdate, 0, stream(n % STREAMS), &1_u32.to_be_bytes()))
}

/// All streams with half of a body.
pub(super) fn half_bodies() -> Vec<u8> {
    let half = |n| {
        let data = frame_of(Kind::Data, 0, stream(n), &[b'h'; 512]);
        [headers(stream(n), POST, SMALL, false), data].concat()
    };
    [preface(), (0..STREAMS).flat_map(half).collect()].concat()
}

/// All streams with bodies that no backend takes, as much as the connection's window permits.
pub(super) fn stuck_bodies(n: u32) -> Option<Vec<u8>> {
    let data = frame_of(Kind::Data, 0, stream(n), &[b's'; STUCK_BYTES]);
    (n < STREAMS).then(|| [headers(stream(n), POST, HANG, false), data].concat())
}

/// What is no frame.
pub(super) fn garbage_frames(n: u32) -> Option<Vec<u8>> {
    Some(garbage(n, 1024))
}

/// Frames of a type that nobody knows.
pub(super) fn unknown(n: u32) -> Option<Vec<u8>> {
    Some(frame_of(Kind::Unknown(0xfa), 0, 0, &[n as u8]))
}

#[cfg(test)]
mod tests {
    use proxy::h2::hpack::{DecodeError, Decoder};

    use super::*;

    /// The frames after an optional preface; all bytes must belong to one.
    fn frames(bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
        let mut rest = bytes.strip_prefix(&PREFACE[..]).unwrap_or(bytes);
        let mut found = Vec::new();
        while !rest.is_empty() {
            let header = Header::read(rest).unwrap();
            rest = &rest[frame::HEADER_BYTES..];
            found.push((header, rest[..header.length].to_vec()));
            rest = &rest[header.length..];
        }
        found
    }

    fn kinds(bytes: &[u8]) -> Vec<Kind> {
        frames(bytes).iter().map(|(header, _)| header.kind).collect()
    }

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        let visited: Result<(), DecodeError<()>> = decoder.decode(block, |field| {
            found.push((String::from_utf8_lossy(field.name).into_owned(), field.value.len()));
            Ok(())
        });
        visited.unwrap();
        found
    }

    #[test]
    fn all_frames_are_well_formed_but_for_the_fault_that_is_meant() {
        for block in [
            rapid_reset,
            continuation,
            hpack_bomb,
            cookie_crumbs,
            settings,
            ping,
            empty_data,
            priority,
            window_update,
            window_drip,
            stuck_bodies,
            unknown,
        ] {
            for n in [0, 1, 7, 99] {
                for (header, _) in frames(&block(n).unwrap()) {
                    assert_eq!(header.check(), Ok(()), "{header:?}");
                }
            }
        }
        for opening in [idle, continuation_open, upload_open, zero_window, half_bodies] {
            assert!(opening().starts_with(PREFACE));
            assert!(frames(&opening()).iter().all(|(header, _)| header.check().is_ok()));
        }
    }

    #[test]
    fn resets_come_on_the_stream_that_was_just_opened() {
        for n in [0, 1, 2, 500] {
            let reset = frames(&rapid_reset(n).unwrap());
            assert_eq!(kinds(&rapid_reset(n).unwrap()), [Kind::Headers, Kind::RstStream]);
            assert_eq!((reset[0].0.stream, reset[1].0.stream), (stream(n), stream(n)));
            assert!(reset[0].0.has(END_STREAM) && reset[0].0.has(END_HEADERS));
            let made = frames(&made_you_reset(n).unwrap());
            assert_eq!((made[0].0.stream, made[1].0.stream), (stream(n), stream(n)));
        }
        let faults = [0, 1, 2].map(|n| frames(&made_you_reset(n).unwrap()).remove(1));
        assert_eq!(frame::number(&faults[0].1), 0);
        assert_eq!(frame::number(&faults[1].1), 0x7fff_ffff);
        assert_eq!((faults[2].0.kind, faults[2].0.length), (Kind::Priority, 1));
    }

    #[test]
    fn a_field_block_never_ends_in_the_continuation_flood() {
        let mut all = continuation_open();
        (0..50).for_each(|n| all.extend(continuation(n).unwrap()));
        let read = frames(&all);
        assert_eq!(read.len(), 52);
        assert!(read[1..].iter().all(|(header, _)| !header.has(END_HEADERS)));
    }

    #[test]
    fn a_bomb_is_far_larger_decoded_than_on_the_wire() {
        for (block, name, times) in
            [(hpack_bomb as fn(u32) -> _, "x-bomb", 64), (cookie_crumbs, "cookie", 1000)]
        {
            let mut decoder = Decoder::new(4096);
            let block = |n| -> Vec<u8> { frames(&block(n).unwrap()).remove(0).1 };
            let inserting = block(0);
            let first = fields(&mut decoder, &inserting[..inserting.len() - times]);
            assert_eq!(first[4], (name.to_owned(), 4000));
            let wire = block(1);
            let end = wire.len() - times + 16;
            let second = fields(&mut decoder, &wire[..end]);
            assert_eq!(second[4..], vec![(name.to_owned(), 4000); 16]);
            assert!(wire[end..].iter().all(|byte| *byte == NEWEST));
        }
    }

    #[test]
    fn requests_are_for_the_host_of_the_stage() {
        let block = request(POST, LARGE);
        let read = fields(&mut Decoder::new(4096), &block);
        let names: Vec<&str> = read.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [":method", ":scheme", ":path", ":authority"]);
        assert_eq!((read[2].1, read[3].1), (LARGE.len(), HOST.len()));
    }

    #[test]
    fn every_stream_is_used_that_the_gateway_permits() {
        let count =
            |bytes: &[u8], kind| kinds(bytes).iter().filter(|found| **found == kind).count();
        assert_eq!(count(&zero_window(), Kind::Headers), 100);
        assert_eq!(count(&half_bodies(), Kind::Data), 100);
        assert!(stuck_bodies(99).is_some() && stuck_bodies(100).is_none());
        let (header, payload) = frames(&zero_window()).remove(0);
        assert_eq!(header.kind, Kind::Settings);
        assert_eq!(frame::settings(&payload).collect::<Vec<_>>(), [(4, 0)]);
    }
}
