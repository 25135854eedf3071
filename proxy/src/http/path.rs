//! The canonical path: RFC 3986 section 6.2.2 normalisation with the refusals of the public policy.
//!
//! It is not a router and knows no queries. The HTTP engines canonicalise every request's path,
//! `control` the paths of rules, so both sides of a match speak one form. Invariants: canonical
//! paths are fixed points, start with `/`, are visible ASCII, and contain no dot segment, not even
//! after a backend decodes them once more and strips `;parameters`.

use thiserror::Error as ThisError;

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// `%` without two hex digits.
    #[error("bad percent escape")]
    Escape,
    /// `%00`.
    #[error("encoded NUL")]
    Nul,
    /// A raw `\`.
    #[error("raw backslash")]
    Backslash,
    /// A dot segment that only shows after decoding or after stripping `;parameters`.
    #[error("hidden dot segment")]
    DotSegment,
    /// It does not start with `/`.
    #[error("not an absolute path")]
    NotAbsolute,
    /// A control, non-ASCII, white space, `?` or `#` byte.
    #[error("byte not allowed in a path")]
    Byte,
}

/// Where the canonical form stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canonical {
    /// The path is canonical as it was written; nothing was appended.
    AsWritten,
    /// The canonical form was appended to the output.
    Appended,
}

/// Brings `raw` into canonical form: escapes of unreserved characters decoded, hex digits of other
/// escapes in upper case, adjacent slashes merged, dot segments resolved (never above the root).
/// `%2F` and `%5C` stay encoded.
///
/// # Errors
/// See [`Error`]; `out` may hold part of the path then.
pub fn canonical(raw: &[u8], out: &mut Vec<u8>) -> Result<Canonical, Error> {
    if raw.first() != Some(&b'/') {
        return Err(Error::NotAbsolute);
    }
    if is_plain(raw)? {
        return Ok(Canonical::AsWritten);
    }
    let root = out.len();
    let mut trailing_slash = false;
    for segment in raw[1..].split(|&byte| byte == b'/') {
        let start = out.len();
        out.push(b'/');
        decode_unreserved(segment, out)?;
        match &out[start + 1..] {
            b"" | b"." => {
                out.truncate(start);
                trailing_slash = true;
            }
            b".." => {
                let kept = &out[root..start];
                let parent = kept.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                out.truncate(root + parent);
                trailing_slash = true;
            }
            written => {
                if hides_dot_segment(written) {
                    return Err(Error::DotSegment);
                }
                trailing_slash = false;
            }
        }
    }
    if trailing_slash {
        out.push(b'/');
    }
    Ok(Canonical::Appended)
}

/// One pass over the path: whether it is canonical beyond doubt.
#[inline]
fn is_plain(raw: &[u8]) -> Result<bool, Error> {
    let mut plain = true;
    let mut previous = 0;
    for &byte in raw {
        match CLASS[byte as usize] {
            PLAIN => {}
            PAUSE => plain &= previous != b'/',
            ESCAPE => plain = false,
            BACKSLASH => return Err(Error::Backslash),
            _ => return Err(Error::Byte),
        }
        previous = byte;
    }
    Ok(plain)
}

const PLAIN: u8 = 0;
/// `/` and `.`: harmless unless they follow a slash.
const PAUSE: u8 = 1;
const ESCAPE: u8 = 2;
const BACKSLASH: u8 = 3;
const REFUSED: u8 = 4;

const CLASS: [u8; 256] = {
    let mut class = [REFUSED; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        class[byte] = PLAIN;
        byte += 1;
    }
    class[b'/' as usize] = PAUSE;
    class[b'.' as usize] = PAUSE;
    class[b'%' as usize] = ESCAPE;
    class[b'\\' as usize] = BACKSLASH;
    class[b'?' as usize] = REFUSED;
    class[b'#' as usize] = REFUSED;
    class
};

/// Appends one segment with its unreserved escapes decoded and the others in upper case.
fn decode_unreserved(segment: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut rest = segment;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            out.push(byte);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else { return Err(Error::Escape) };
        let decoded = escape(*high, *low).ok_or(Error::Escape)?;
        match decoded {
            0 => return Err(Error::Nul),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(decoded);
            }
            _ => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
        }
        rest = tail;
    }
    Ok(())
}

/// The byte that two hex digits stand for.
fn escape(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(high)? * 16 + digit(low)?;
    u8::try_from(value).ok()
}

/// Whether decoding a segment once more and stripping `;parameters` uncovers a dot segment, with
/// `/` and `\` as separators.
fn hides_dot_segment(segment: &[u8]) -> bool {
    if memchr::memchr2(b'%', b';', segment).is_none() {
        return false;
    }
    let mut dots = 0_usize;
    let mut length = 0_usize;
    let mut in_parameters = false;
    let is_dot = |dots: usize, length: usize| dots == length && (dots == 1 || dots == 2);
    let mut rest = segment;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, tail) = match tail {
            [high, low, tail @ ..] if first == b'%' => (escape(*high, *low).unwrap_or(first), tail),
            _ => (first, tail),
        };
        rest = tail;
        match byte {
            b'/' | b'\\' => {
                if is_dot(dots, length) {
                    return true;
                }
                (dots, length, in_parameters) = (0, 0, false);
            }
            b';' => in_parameters = true,
            _ if in_parameters => {}
            b'.' => (dots, length) = (dots + 1, length + 1),
            _ => length += 1,
        }
    }
    is_dot(dots, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(raw: &str) -> Result<String, Error> {
        let mut out = b"before".to_vec();
        Ok(match canonical(raw.as_bytes(), &mut out)? {
            Canonical::AsWritten => raw.to_owned(),
            Canonical::Appended => String::from_utf8(out.split_off(6)).unwrap(),
        })
    }

    #[test]
    fn canonical_paths_cost_nothing() {
        for raw in ["/", "/a", "/a/", "/a.b/c..d", "/a;v=1/b", "/index.html", "/a=b&c@d:e!$'()*+,"]
        {
            let mut out = Vec::new();
            assert_eq!(canonical(raw.as_bytes(), &mut out), Ok(Canonical::AsWritten), "{raw}");
            assert!(out.is_empty());
        }
    }

    #[test]
    fn other_paths_are_brought_into_the_one_form() {
        for (raw, expected) in [
            ("/%61", "/a"),
            ("/%7Euser", "/~user"),
            ("//a", "/a"),
            ("/a//b///c", "/a/b/c"),
            ("/p/../a", "/a"),
            ("/p/%2e%2E/a", "/a"),
            ("/p/./a", "/p/a"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a//../b", "/b"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%5cb", "/a%5Cb"),
            ("/a%20b", "/a%20b"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/%c0%af", "/%C0%AF"),
            ("/a..;x", "/a..;x"),
            ("/...;x", "/...;x"),
            ("//", "/"),
        ] {
            assert_eq!(of(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn paths_without_a_safe_form_are_refused() {
        for (raw, expected) in [
            ("", Error::NotAbsolute),
            ("a", Error::NotAbsolute),
            ("/p/..%2fa", Error::DotSegment),
            ("/p/..%5ca", Error::DotSegment),
            ("/p/%2e%2e%2Fa", Error::DotSegment),
            ("/p/a%2f..", Error::DotSegment),
            ("/p/a%2f%2e", Error::DotSegment),
            ("/p/..;/a", Error::DotSegment),
            ("/p/.;x=1/a", Error::DotSegment),
            ("/p/..%3bx/a", Error::DotSegment),
            ("/..;/a/../../b", Error::DotSegment),
            ("/p\\..\\a", Error::Backslash),
            ("/%00", Error::Nul),
            ("/a%", Error::Escape),
            ("/a%2", Error::Escape),
            ("/a%2/b", Error::Escape),
            ("/a%zz", Error::Escape),
            ("/a%+1", Error::Escape),
            ("/a b", Error::Byte),
            ("/a#b", Error::Byte),
            ("/a?b", Error::Byte),
            ("/\u{e9}", Error::Byte),
            ("/\u{7f}", Error::Byte),
        ] {
            assert_eq!(of(raw), Err(expected), "{raw}");
        }
    }
}
