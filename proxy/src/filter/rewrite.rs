//! `URLRewrite`, and the path modifier that redirects share with it.

use crate::ir::PathModifier;

/// Appends the modified path to `out`. `path` is canonical; its first `prefix` bytes are the matched
/// prefix without trailing slash.
pub fn path(modifier: &PathModifier, path: &str, prefix: usize, out: &mut Vec<u8>) {
    match modifier {
        PathModifier::ReplaceFullPath(full) => {
            out.extend_from_slice(if full.is_empty() { b"/" } else { full.as_bytes() });
        }
        PathModifier::ReplacePrefixMatch(replacement) => {
            let start = out.len();
            let rest = path.get(prefix..).unwrap_or("");
            out.extend_from_slice(replacement.trim_end_matches('/').as_bytes());
            out.extend_from_slice(rest.as_bytes());
            if out.len() == start {
                out.push(b'/');
            }
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
    fn an_empty_full_path_is_the_root() {
        let mut out = Vec::new();
        path(&PathModifier::ReplaceFullPath("".into()), "/a", 0, &mut out);
        assert_eq!(out, b"/");
    }
}
