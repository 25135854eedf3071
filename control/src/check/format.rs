//! The text formats of the API: each a test and the words that say what is allowed.

use std::net::IpAddr;

use proxy::http::field::is_token;

/// A named format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Anything.
    Any,
    /// `example.com/name`.
    ControllerName,
    /// `http` or `https`-like method token.
    HeaderName,
    /// A DNS name, no wildcard, no IP address.
    Hostname,
    /// A DNS name that may begin with `*.`.
    WildcardHostname,
    /// A kind.
    Kind,
    /// A DNS label.
    Label,
    /// A key of a label: `name` or `prefix/name`.
    LabelKey,
    /// A value of a label.
    LabelValue,
    /// A DNS subdomain, or empty (the core group).
    Group,
    /// A DNS subdomain.
    Subdomain,
    /// `HTTP` or `example.com/protocol`.
    Protocol,
    /// Empty, `Cluster`, or `example.com/scope`.
    Routability,
    /// An RFC 3339 time.
    Time,
    /// A token that starts a path.
    Path,
    /// A duration of the Gateway API (GEP-2257).
    Duration,
    /// An origin of the CORS filter, or `*`.
    Origin,
    /// A URI with its scheme.
    AbsoluteUri,
    /// Base64.
    Base64,
    /// Endpoints, as the annotation lists them.
    Endpoints,
}

impl Format {
    /// Whether the text has this format.
    pub(super) fn fits(self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::ControllerName => text.split_once('/').is_some_and(|(domain, path)| {
                is_subdomain(domain)
                    && !path.is_empty()
                    && path
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b))
            }),
            Self::HeaderName => is_token(text),
            Self::Hostname => is_subdomain(text) && text.parse::<IpAddr>().is_err(),
            Self::WildcardHostname => {
                let name = text.strip_prefix("*.").unwrap_or(text);
                is_subdomain(name) && name.parse::<IpAddr>().is_err()
            }
            Self::Kind => is_kind(text),
            Self::Label => is_label(text),
            Self::LabelKey => {
                let (prefix, name) =
                    text.rsplit_once('/').map_or((None, text), |(p, n)| (Some(p), n));
                prefix.is_none_or(is_subdomain) && !name.is_empty() && is_label_value(name)
            }
            Self::LabelValue => is_label_value(text),
            Self::Group => text.is_empty() || is_subdomain(text),
            Self::Subdomain => is_object_name(text),
            Self::Protocol => {
                is_label_value(text) && !text.is_empty() && !text.contains(['.', '_'])
                    || text.split_once('/').is_some_and(|(domain, name)| {
                        is_subdomain(domain) && !name.is_empty() && is_label_value(name)
                    })
            }
            Self::Routability => {
                text.is_empty()
                    || text == "Cluster"
                    || text.split_once('/').is_some_and(|(domain, path)| {
                        let is_reserved = domain == "k8s.io" || domain.ends_with(".k8s.io");
                        is_object_name(domain) && !is_reserved && !path.is_empty()
                    })
            }
            Self::Time => text.parse::<jiff::Timestamp>().is_ok(),
            Self::Path => text.starts_with('/'),
            Self::Duration => crate::translate::is_duration(text),
            Self::Origin => crate::translate::is_origin(text),
            Self::AbsoluteUri => text.split_once(':').is_some_and(|(scheme, rest)| {
                let inner = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
                scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                    && scheme.bytes().all(inner)
                    && !rest.is_empty()
                    && text.bytes().all(|b| b.is_ascii_graphic())
            }),
            Self::Base64 => is_base64(text),
            Self::Endpoints => crate::resolve::entries(text).all(|entry| entry.is_ok()),
        }
    }

    /// What is allowed, for a message.
    pub(super) fn allowed(self) -> &'static str {
        match self {
            Self::Any => "text",
            Self::ControllerName => "a domain and a path, as example.com/controller",
            Self::HeaderName => "letters, digits and !#$%&'*+-.^_`|~",
            Self::Hostname => "a DNS name in lower case (no IP address, no wildcard)",
            Self::WildcardHostname => {
                "a DNS name in lower case, which may begin with \"*.\" (no IP address)"
            }
            Self::Kind => "a kind: letters, digits and \"-\", beginning with a letter",
            Self::Label => "a DNS label: lower case letters, digits and \"-\", at most 63",
            Self::LabelKey => {
                "a label key: letters, digits, \"-\", \"_\", \".\", with an optional domain/"
            }
            Self::LabelValue => "a label value: letters, digits, \"-\", \"_\", \".\", at most 63",
            Self::Group => "a DNS name, or \"\" for the core group",
            Self::Subdomain => "a DNS name in lower case",
            Self::Protocol => "HTTP, HTTPS, or a domain-prefixed name",
            Self::Routability => {
                "\"\", Cluster, or a domain (k8s.io is reserved) and a path, as example.com/scope"
            }
            Self::Time => "an RFC 3339 time, as 2026-01-31T12:00:00Z",
            Self::Path => "a path that begins with \"/\"",
            Self::Duration => "a duration of whole h, m, s and ms, as 10s or 1h30m",
            Self::Origin => "\"*\" or scheme://host[:port], whose host may begin with \"*.\"",
            Self::AbsoluteUri => "a URI with its scheme, as spiffe://example.com/name",
            Self::Base64 => "base64",
            Self::Endpoints => "a list of host:port separated by commas",
        }
    }
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

fn is_part(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    !text.is_empty() && inner && !text.starts_with('-') && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The API server bounds the whole name of an object, not its parts.
fn is_object_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        && edge(bytes.first())
        && edge(bytes.last())
}

fn is_kind(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (1..=63).contains(&text.len())
        && inner
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with('-')
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    let packed: String = text.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(packed).is_ok()
}
