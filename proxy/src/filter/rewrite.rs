//! `URLRewrite`, and the path modifier that redirects share with it.

use crate::ir::PathModifier;

/// Appends the modified path to `out`. `path` is canonical; its first `prefix` bytes are the matched
/// prefix without trailing slash.
pub fn path(modifier: &PathModifier, path: &str, prefix: usize, out: &mut Vec<u8>) {
    let start = out.len();
    match modifier {
        PathModifier::ReplaceFullPath(full) => push(full, out),
        PathModifier::ReplacePrefixMatch(replacement) => {
            push(replacement.trim_end_matches('/'), out);
            out.extend_from_slice(path.get(prefix..).unwrap_or("").as_bytes());
        }
    }
    // Without its slash a path would run into the host before it.
    if out.get(start) != Some(&b'/') {
        out.insert(start, b'/');
    }
}

/// Appends configured text; what may not stand in a path is percent-encoded, so that no line, query
/// or request can be begun in it.
fn push(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'#' | b'?' | b'\\') {
            out.push(byte);
        } else {
            let digits = b"0123456789ABCDEF";
            out.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(request: &str, prefix: &str, replacement: &str) -> String {
        let modifier = PathModifier::ReplacePrefixMatch(replacement.into());
        let mut out = Vec::new();
        path(&modifier, request, prefix.trim_end_matches('/').len(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The table of `HTTPPathModifier.replacePrefixMatch` in the API reference.
    #[test]
    fn replace_prefix_match_follows_the_table_of_the_api() {
        for (request, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/", "/xyz", "/xyz/foo/bar"),
        ] {
            assert_eq!(replaced(request, prefix, replacement), expected, "{request} {prefix}");
        }
    }

    #[test]
    fn a_configured_path_stays_one_path() {
        for (full, expected) in [
            ("evil.example/x", "/evil.example/x"),
            ("/a b\r\nx: y", "/a%20b%0D%0Ax:%20y"),
            ("/a?b#c\\d", "/a%3Fb%23c%5Cd"),
            ("/%C3%A9/\u{e9}", "/%C3%A9/%C3%A9"),
        ] {
            let mut out = b"kept".to_vec();
            path(&PathModifier::ReplaceFullPath(full.into()), "/", 0, &mut out);
            assert_eq!(out, format!("kept{expected}").as_bytes());
        }
        assert_eq!(replaced("/foo/bar", "/foo", "xyz"), "/xyz/bar");
    }

    #[test]
    fn an_empty_full_path_is_the_root() {
        let mut out = Vec::new();
        path(&PathModifier::ReplaceFullPath("".into()), "/a", 0, &mut out);
        assert_eq!(out, b"/");
    }
}
