//! The response head as the client gets it: the backend's, or one of our own.

use super::Forward;
use super::grpc;
use crate::fault::Fault;
use crate::filter::{cors, cors_of, header};
use crate::h1::encode;
use crate::http::write::lines;
use crate::http::{Framing, HeadWriter, Known, Method, RequestHead, ResponseHead, Version};
use crate::table::Rule;

/// How a response travels to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its framing on the client's connection.
    pub framing: Framing,
    /// The connection stays open behind it.
    pub keep_alive: bool,
}

impl Delivery {
    /// Decides framing and persistence for a final `response` to `request`.
    ///
    /// A body of unknown length becomes chunked for HTTP/1.1 and close-delimited for HTTP/1.0; a
    /// stream of HTTP/2 ends by itself.
    /// `keep` says whether client and gateway both want the connection kept.
    #[must_use]
    pub fn of(request: &RequestHead, response: &ResponseHead, keep: bool) -> Self {
        let keep_alive = keep;
        match (response.framing, request.version) {
            (Framing::None | Framing::Length(_), _) => {
                Self { framing: response.framing, keep_alive }
            }
            (Framing::Chunked | Framing::UntilClose, Version::Http11 | Version::Http2) => {
                Self { framing: Framing::Chunked, keep_alive }
            }
            (Framing::Chunked | Framing::UntilClose, Version::Http10) => {
                Self { framing: Framing::UntilClose, keep_alive: false }
            }
        }
    }
}

impl Forward<'_> {
    /// Writes the head of a final response, after the header modifiers.
    pub fn write_response(
        &self,
        request: &RequestHead,
        response: &ResponseHead,
        delivery: Delivery,
        out: &mut impl HeadWriter,
    ) {
        out.status(response.status, response.reason.of(&response.arena));
        let modifiers = self.filters().response_headers();
        let cors = self.filters().cors();
        let bodiless = delivery.framing == Framing::None;
        for field in response.passing() {
            let name = field.name.of(&response.arena);
            // A bodiless answer (to HEAD, or 304) keeps the length that a GET would have had.
            let ours = (field.known == Known::ContentLength && !bodiless)
                || (cors.is_some() && cors::owns(name));
            if !ours && header::keeps(modifiers.clone(), name) {
                out.copy(&response.arena, field);
            }
        }
        if let Some(cors) = cors {
            cors::response(cors, request, |name| header::keeps(modifiers.clone(), name), out);
        }
        header::additions(modifiers, |name, value| out.field(name, value));
        out.framing(delivery.framing);
        out.persistence(request.version, delivery.keep_alive);
        out.end();
    }

    /// Writes an interim (1xx) response; 101 keeps its upgrade fields.
    pub fn write_interim(&self, response: &ResponseHead, out: &mut impl HeadWriter) {
        out.status(response.status, response.reason.of(&response.arena));
        for field in response.passing() {
            if field.known != Known::ContentLength {
                out.copy(&response.arena, field);
            }
        }
        if response.websocket {
            let modifiers = self.filters().response_headers();
            header::additions(modifiers, |name, value| out.field(name, value));
            out.websocket();
        }
        out.end();
    }
}

/// An answer of the gateway's own.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Why; its status is the answer's.
    pub fault: Fault,
    /// [`super::Reply::fields`].
    pub fields: Option<&'a [u8]>,
    /// A body that is not of our own wording.
    pub content: Option<&'a [u8]>,
    /// The request; `None` if it could not be read.
    pub request: Option<&'a RequestHead>,
    /// The rule that it belongs to: a script of another origin may read our answers as it may read
    /// a backend's.
    pub rule: Option<&'a Rule>,
    /// The connection is kept behind it.
    pub keep_alive: bool,
    /// Name the reason in a field.
    pub debug: bool,
}

impl<'a> Answer<'a> {
    /// The status that is sent, if anything is.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.fault.status().map(|status| if self.grpc() { 200 } else { status })
    }

    /// Writes the head; `false` if there is nothing to say.
    pub fn write_head(&self, out: &mut impl HeadWriter) -> bool {
        let Some(status) = self.fault.status() else { return false };
        let grpc = self.grpc();
        let body = self.text(status);
        out.status(if grpc { 200 } else { status }, b"");
        self.write_fields(grpc, out);
        if let (Some(rule), Some(head)) = (self.rule, self.request)
            && self.fault != Fault::Preflight
            && let Some(cors) = cors_of(&rule.filters)
        {
            cors::response(cors, head, |_| true, out);
        }
        if self.debug {
            out.field(b"x-ringway-reason", self.fault.code().as_bytes());
        }
        if grpc {
            grpc::write_status(status, self.fault, out);
        } else if !body.is_empty() && self.content.is_none() {
            out.field(b"content-type", b"text/plain");
        }
        if !matches!(status, 204 | 304) || grpc {
            out.framing(Framing::Length(body.len() as u64));
        }
        let version = self.request.map_or(Version::Http11, |head| head.version);
        out.persistence(version, self.keep_alive);
        out.end();
        true
    }

    /// Its body, empty where there is none.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        match self.fault.status() {
            Some(_) if self.request.is_some_and(|head| head.method == Method::Head) => b"",
            Some(status) => self.text(status),
            None => b"",
        }
    }

    fn text(&self, status: u16) -> &'a [u8] {
        match self.content {
            _ if self.grpc() || matches!(status, 204 | 205 | 304) => b"",
            Some(content) => content,
            None if self.fields.is_some() => b"",
            None => encode::reason_line(status).as_bytes(),
        }
    }

    /// What the rule or the message says of itself is not also said by whoever else answers.
    fn write_fields(&self, grpc: bool, out: &mut impl HeadWriter) {
        let cors = self.rule.is_some_and(|rule| cors_of(&rule.filters).is_some());
        let is_preflight = self.fault == Fault::Preflight;
        for (name, value) in lines(self.fields.unwrap_or_default()) {
            let taken = (cors && !is_preflight && cors::owns(name))
                || (grpc && name.starts_with(b"content-"));
            if !taken {
                out.field(name, value);
            }
        }
    }

    /// Whether it is told in a gRPC status: to a gRPC client, but for what browsers and redirects
    /// need.
    fn grpc(&self) -> bool {
        (self.fields.is_none() || matches!(self.fault, Fault::AuthDenied(_)))
            && (self.rule.is_some_and(|rule| rule.grpc) || self.request.is_some_and(grpc::is_call))
    }
}
