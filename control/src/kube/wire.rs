//! What the API server sends: pages of a list, and the lines of a watch.
//!
//! Reads bytes and JSON, decides nothing; called by [`super::feed`]. Invariants: a page or line is
//! given whole or not at all; a silent or endless answer ends with an error.

use std::borrow::Cow;
use std::time::Duration;

use ::kube::Client;
use ::kube::client::Body;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::client::chain;

/// The head of an answer must come within this time.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// A watch that delivers nothing, not even a bookmark, for this time is replaced.
pub const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Bytes of one line of a watch; etcd takes no object near this size.
pub const LINE_BYTES_MAX: usize = 32 << 20;
/// Bytes of one page of a list.
pub const PAGE_BYTES_MAX: usize = 512 << 20;
/// Bytes of an error's body that are read.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// Why an answer could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum WireError {
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// Connected, but silent.
    #[error("no answer for {} s", .0.as_secs())]
    Silent(Duration),
    /// The server refused; `wait` is its own word on when to come again.
    #[error("{code} {message}")]
    Refused { code: u16, message: String, wait: Option<Duration> },
    /// Not what an API server sends.
    #[error("the answer makes no sense: {0}")]
    Garbled(String),
}

/// `Status`, as far as it matters.
#[derive(Deserialize)]
pub(super) struct Refusal<'a> {
    #[serde(default)]
    pub code: Option<u16>,
    #[serde(borrow, default)]
    pub message: Option<Cow<'a, str>>,
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    #[serde(borrow)]
    pub metadata: PageHead<'a>,
    #[serde(borrow, default)]
    pub items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageHead<'a> {
    #[serde(borrow, default)]
    pub resource_version: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "continue")]
    pub next: Option<Cow<'a, str>>,
}

/// A line of a watch.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// A bookmark.
#[derive(Deserialize)]
pub(super) struct Bookmark<'a> {
    #[serde(borrow)]
    metadata: BookmarkHead<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkHead<'a> {
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Bookmark<'_> {
    pub(super) fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// Whether everything that existed at the start of the watch has been sent.
    pub(super) fn ends_list(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        let end = annotations.and_then(|all| all.get("k8s.io/initial-events-end"));
        end.is_some_and(|value| value == "true")
    }
}

impl WireError {
    pub(super) fn garbled(error: &serde_json::Error) -> Self {
        // The position says enough; the text may be an object's.
        Self::Garbled(format!("{:?} error at column {}", error.classify(), error.column()))
    }

    /// The refusal in an ERROR line.
    pub(super) fn refused(status: &str) -> Self {
        let Refusal { code, message } =
            serde_json::from_str(status).unwrap_or(Refusal { code: None, message: None });
        let message = message.map_or_else(String::new, Cow::into_owned);
        Self::Refused { code: code.unwrap_or(500), message, wait: None }
    }

    /// Nothing was heard from the server.
    pub(super) fn is_unheard(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Silent(_))
    }

    /// The server cannot be reached or cannot work; nothing that a grant or a change would mend.
    pub(super) fn is_away(&self) -> bool {
        self.is_unheard() || self.code().is_some_and(|code| code == 429 || code >= 500)
    }

    /// When the server wishes to be asked again.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self {
            Self::Refused { wait, .. } => *wait,
            Self::Unreachable(_) | Self::Silent(_) | Self::Garbled(_) => None,
        }
    }

    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable(_) | Self::Silent(_) | Self::Garbled(_) => None,
        }
    }
}

/// Asks for `path` and gives the answer's body once the server agreed to give one.
pub(super) async fn get(client: &Client, path: &str) -> Result<Body, WireError> {
    let request = Request::get(path).header(ACCEPT, "application/json").body(Body::empty());
    let request = request.map_err(|error| WireError::Garbled(error.to_string()))?;
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.send(request)).await;
    let answer = answer.map_err(|_| WireError::Silent(ANSWER_TIMEOUT))?;
    let answer = answer.map_err(|error| WireError::Unreachable(chain(&error)))?;
    if answer.status() == StatusCode::OK {
        return Ok(answer.into_body());
    }
    Err(refusal(answer).await)
}

async fn refusal(answer: Response<Body>) -> WireError {
    let code = answer.status().as_u16();
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let text = whole(answer.into_body(), ERROR_BYTES_MAX).await.unwrap_or_default();
    let message = match serde_json::from_slice::<Refusal<'_>>(&text) {
        Ok(Refusal { message: Some(message), .. }) => message.into_owned(),
        _ => answer_text(&text),
    };
    WireError::Refused { code, message, wait }
}

/// The first line of an answer that is no `Status`.
fn answer_text(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

/// The whole of a body of at most `max` bytes.
pub(super) async fn whole(mut body: Body, max: usize) -> Result<Vec<u8>, WireError> {
    let mut text = Vec::new();
    while let Some(bytes) = next_bytes(&mut body, SILENCE_MAX).await? {
        if text.len() + bytes.len() > max {
            return Err(WireError::Garbled(format!("more than {max} bytes")));
        }
        text.extend_from_slice(&bytes);
    }
    Ok(text)
}

async fn next_bytes(body: &mut Body, silence: Duration) -> Result<Option<Bytes>, WireError> {
    loop {
        let frame = tokio::time::timeout(silence, body.frame()).await;
        let frame = frame.map_err(|_| WireError::Silent(silence))?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|error| WireError::Unreachable(chain(&error)))?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
}

/// The lines of a watch.
#[derive(Debug)]
pub(super) struct Lines {
    body: Body,
    silence: Duration,
    buffer: Vec<u8>,
    /// Start of the next line.
    at: usize,
    /// Up to where no line end was found.
    searched: usize,
}

impl Lines {
    /// `silence` is the longest time without a byte.
    pub(super) fn new(body: Body, silence: Duration) -> Self {
        Self { body, silence, buffer: Vec::new(), at: 0, searched: 0 }
    }

    /// The next whole line; `None` at the end. A last line without end is dropped: it was cut.
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<&str>, WireError> {
        let length = loop {
            let fresh = &self.buffer[self.searched..];
            if let Some(length) = fresh.iter().position(|byte| *byte == b'\n') {
                break length;
            }
            self.compact();
            match next_bytes(&mut self.body, self.silence).await? {
                None => return Ok(None),
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(WireError::Garbled(format!("a line over {LINE_BYTES_MAX} bytes")));
            }
        };
        let (start, end) = (self.at, self.searched + length);
        (self.at, self.searched) = (end + 1, end + 1);
        let line = std::str::from_utf8(&self.buffer[start..end]);
        line.map(Some).map_err(|_| WireError::Garbled("no UTF-8".to_owned()))
    }

    /// Forgets lines that were read; a buffer that one big object grew is given back.
    fn compact(&mut self) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.searched = self.buffer.len();
        if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_KEPT_MAX {
            self.buffer = Vec::new();
        }
    }
}

/// A bigger buffer is given back once it is empty.
const BUFFER_KEPT_MAX: usize = 64 << 10;
