//! Why a TLS session failed, in words for a log and in one closed list of reasons.
//!
//! `session` makes the values from what rustls says, `shards` counts and logs them. Invariant: no
//! error text holds a secret; a [`Reason`] never changes meaning.

use rustls::{AlertDescription, CertificateError, InvalidMessage};
use thiserror::Error as ThisError;

/// Why a session failed. After an error, send what output is due (the alert) and close.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The peer's bytes are not TLS. If a client's look like HTTP, the output is a plain 400.
    #[error("not TLS")]
    NotTls,
    /// No listener claims the SNI name, or its certificate is unusable.
    #[error("no certificate for the requested name")]
    NoCertificate,
    /// The peer's certificate is missing or was not accepted.
    #[error("the peer's certificate is refused: {1}")]
    Certificate(Reason, String),
    /// The two sides agree on no protocol by ALPN.
    #[error("no protocol in common by ALPN")]
    NoAlpn,
    /// The peer refused us by an alert.
    #[error("the peer refused: {0}")]
    Refused(String),
    /// What we are to show or to ask for cannot be used.
    #[error("unusable settings: {0}")]
    Settings(&'static str),
    /// The peer broke the protocol or shares no parameters with us.
    #[error("handshake failed: {0}")]
    Protocol(String),
}

/// Why no session came about, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The connection ended in the middle of the handshake.
    Closed,
    /// No trusted authority vouches for the peer's certificate.
    Untrusted,
    /// The peer's certificate does not bear the name that was asked for.
    WrongName,
    /// The peer's certificate has expired.
    Expired,
    /// The peer's certificate is not valid yet.
    NotYetValid,
    /// The peer showed no certificate.
    NoCertificate,
    /// The peer's certificate is unusable in another way.
    BadCertificate,
    /// No protocol in common by ALPN.
    NoAlpn,
    /// The peer does not speak TLS.
    NotTls,
    /// The peer refused us.
    Refused,
    /// What we are to show or to ask for cannot be used.
    Settings,
    /// The peer broke the protocol or shares no parameters with us.
    Protocol,
}

impl Reason {
    /// The word for logs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Untrusted => "untrusted",
            Self::WrongName => "wrong_name",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::NoAlpn => "no_alpn",
            Self::NotTls => "not_tls",
            Self::Refused => "refused",
            Self::Settings => "settings",
            Self::Protocol => "protocol",
        }
    }
}

impl Error {
    /// The reason in one word.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotTls => Reason::NotTls,
            Self::NoCertificate | Self::Settings(_) => Reason::Settings,
            Self::Certificate(reason, _) => *reason,
            Self::NoAlpn => Reason::NoAlpn,
            Self::Refused(_) => Reason::Refused,
            Self::Protocol(_) => Reason::Protocol,
        }
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        use rustls::Error as E;
        match &error {
            E::InvalidCertificate(why) => Self::Certificate(certificate(why), error.to_string()),
            E::NoCertificatesPresented => {
                Self::Certificate(Reason::NoCertificate, error.to_string())
            }
            E::NoApplicationProtocol
            | E::AlertReceived(AlertDescription::NoApplicationProtocol) => Self::NoAlpn,
            E::AlertReceived(alert) => Self::Refused(format!("{alert:?}")),
            E::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            _ => Self::Protocol(error.to_string()),
        }
    }
}

fn certificate(why: &CertificateError) -> Reason {
    use CertificateError as C;
    match why {
        C::UnknownIssuer | C::BadSignature => Reason::Untrusted,
        C::NotValidForName | C::NotValidForNameContext { .. } => Reason::WrongName,
        C::Expired | C::ExpiredContext { .. } => Reason::Expired,
        C::NotValidYet | C::NotValidYetContext { .. } => Reason::NotYetValid,
        _ => Reason::BadCertificate,
    }
}
