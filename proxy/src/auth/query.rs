//! Query parameters that an authorization server sets or removes.
//!
//! Parameters are found by their decoded names, as matches find them; what stays keeps its bytes.

/// Changes of one query, removals first.
#[derive(Debug, Default)]
pub(super) struct Edits {
    removed: Vec<Vec<u8>>,
    added: Vec<u8>,
}

impl Edits {
    /// Puts one parameter in place of all of that name.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        if !self.added.is_empty() {
            self.added.push(b'&');
        }
        encode(name, &mut self.added);
        self.added.push(b'=');
        encode(value, &mut self.added);
    }

    /// Drops all parameters of that name.
    pub(super) fn remove(&mut self, name: &[u8]) {
        self.removed.push(name.to_vec());
    }

    /// The query that results; `None` if it stays as it is.
    pub(super) fn apply(&self, query: Option<&str>) -> Option<Vec<u8>> {
        if self.removed.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        let parameters = query.unwrap_or_default().as_bytes().split(|byte| *byte == b'&');
        for parameter in parameters.filter(|parameter| !parameter.is_empty()) {
            let name = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
            if !self.removed.contains(&decode(name)) {
                push(&mut out, parameter);
            }
        }
        if !self.added.is_empty() {
            push(&mut out, &self.added);
        }
        Some(out)
    }
}

fn push(out: &mut Vec<u8>, parameter: &[u8]) {
    if !out.is_empty() {
        out.push(b'&');
    }
    out.extend_from_slice(parameter);
}

fn encode(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            let digit = |nibble: u8| b"0123456789ABCDEF"[nibble as usize];
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// `+` is a space; a broken escape stands for itself.
fn decode(text: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| (*byte as char).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let escaped = match (byte, hex(text.get(at + 1)), hex(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => Some((high * 16 + low) as u8),
            _ => None,
        };
        out.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_and_removed_by_their_decoded_names() {
        for (query, remove, set, expected) in [
            (Some("a=1&b=2&a=3"), Some("a"), None, "b=2"),
            (Some("a=1&%61=2&b"), Some("a"), None, "b"),
            (Some("a=1&b=2"), None, Some(("a", "x&y=\u{e9} ")), "b=2&a=x%26y%3D%C3%A9%20"),
            (None, None, Some(("a", "1")), "a=1"),
            (Some("a"), Some("a"), None, ""),
            (Some("a+b=1&c=%zz"), Some("a b"), None, "c=%zz"),
        ] {
            let mut edits = Edits::default();
            if let Some(name) = remove {
                edits.remove(name.as_bytes());
            }
            if let Some((name, value)) = set {
                edits.set(name.as_bytes(), value.as_bytes());
            }
            let out = edits.apply(query).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{query:?}");
        }
        assert_eq!(Edits::default().apply(Some("a=1")), None);
    }
}
