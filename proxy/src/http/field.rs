//! Field lines: which field a name is, and which fields never travel past the next connection.
//!
//! It says what names and values may hold, and parses no lines and no values but Content-Length. The engines classify with it; `exchange`
//! and `table` read the result. Invariant: names are compared exactly, so `_` never equals `-`.

use super::Span;

/// Whether `text` is a token, as names of fields and methods are (RFC 9110 section 5.6.2).
#[must_use]
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// Whether `text` can stand as the value of a field (RFC 9110 section 5.5).
#[must_use]
pub fn is_value(text: &str) -> bool {
    text.bytes().all(is_value_byte)
}

/// A byte of a token.
#[inline]
pub(crate) fn is_tchar(byte: u8) -> bool {
    TCHAR[byte as usize]
}

/// A byte of a field value.
#[inline]
pub(crate) fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}

const TCHAR: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        token[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        token[others[at] as usize] = true;
        at += 1;
    }
    token
};

/// Fields that the gateway itself looks at; everything else is `Other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the field")]
pub enum Known {
    #[default]
    Other,
    Connection,
    ContentLength,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthenticationInfo,
    ProxyAuthorization,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XForwardedPort,
    XRealIp,
}

/// One field line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Field {
    /// Name, lower case.
    pub name: Span,
    /// Value without surrounding white space.
    pub value: Span,
    /// Which field it is.
    pub known: Known,
    /// Hop-by-hop (by name, or named in `Connection`): neither matched nor forwarded.
    pub hop: bool,
    /// Its sender asked that no hop ever puts it into a table (RFC 7541 section 7.1.3).
    pub never_indexed: bool,
}

impl Known {
    /// The field of a lower-case name.
    #[must_use]
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        match name.len() {
            2 if name == b"te" => Self::Te,
            4 if name == b"host" => Self::Host,
            4 if name == b"date" => Self::Date,
            6 if name == b"expect" => Self::Expect,
            7 if name == b"upgrade" => Self::Upgrade,
            7 if name == b"trailer" => Self::Trailer,
            9 if name == b"x-real-ip" => Self::XRealIp,
            9 if name == b"forwarded" => Self::Forwarded,
            10 if name == b"connection" => Self::Connection,
            10 if name == b"keep-alive" => Self::KeepAlive,
            14 if name == b"content-length" => Self::ContentLength,
            14 if name == b"http2-settings" => Self::Http2Settings,
            15 if name == b"x-forwarded-for" => Self::XForwardedFor,
            16 if name == b"x-forwarded-host" => Self::XForwardedHost,
            16 if name == b"x-forwarded-port" => Self::XForwardedPort,
            16 if name == b"proxy-connection" => Self::ProxyConnection,
            17 if name == b"transfer-encoding" => Self::TransferEncoding,
            17 if name == b"x-forwarded-proto" => Self::XForwardedProto,
            18 if name == b"proxy-authenticate" => Self::ProxyAuthenticate,
            19 if name == b"proxy-authorization" => Self::ProxyAuthorization,
            25 if name == b"proxy-authentication-info" => Self::ProxyAuthenticationInfo,
            _ => Self::Other,
        }
    }

    /// Hop-by-hop whatever `Connection` says: RFC 9110 section 7.6.1, the upgrade to HTTP/2 of
    /// RFC 7540, and the credentials between a client and a proxy of its own choice (section
    /// 11.7), which a gateway is not: it neither asks for them nor hands them to a backend.
    #[must_use]
    #[inline]
    pub fn is_hop_by_hop(self) -> bool {
        match self {
            Self::Connection
            | Self::Http2Settings
            | Self::KeepAlive
            | Self::ProxyAuthenticate
            | Self::ProxyAuthenticationInfo
            | Self::ProxyAuthorization
            | Self::ProxyConnection
            | Self::Te
            | Self::Trailer
            | Self::TransferEncoding
            | Self::Upgrade => true,
            Self::Other
            | Self::ContentLength
            | Self::Date
            | Self::Expect
            | Self::Forwarded
            | Self::Host
            | Self::XForwardedFor
            | Self::XForwardedHost
            | Self::XForwardedProto
            | Self::XForwardedPort
            | Self::XRealIp => false,
        }
    }
}

/// A Content-Length value: 1 to 19 decimal digits and nothing else.
#[must_use]
pub fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_exactly() {
        assert_eq!(Known::of(b"content-length"), Known::ContentLength);
        assert_eq!(Known::of(b"content_length"), Known::Other);
        assert_eq!(Known::of(b"host "), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
    }

    #[test]
    fn lengths_are_digits_that_fit() {
        assert_eq!(parse_length(b"0"), Some(0));
        assert_eq!(parse_length(b"0005"), Some(5));
        assert_eq!(parse_length(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        for bad in ["", "+5", "-0", "0x5", "5 5", "5,6", "5;", "5.0", "18446744073709551615"] {
            assert_eq!(parse_length(bad.as_bytes()), None, "{bad}");
        }
    }
}
