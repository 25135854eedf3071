//! The demo's gRPC backend: a health check, an echo, and reflection, over HTTP/2 without TLS.
//!
//! Every method takes a stream of messages and answers each with one; for a unary call that is one
//! message. `backends.rs` hands it connections. Invariant: a message longer than
//! [`MESSAGE_BYTES_MAX`] is refused before it is kept.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{protobuf, reflection};

/// Longest message of a gRPC call (bytes).
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

pub(super) const HEALTH: &str = "grpc.health.v1.Health";
pub(super) const ECHO: &str = "demo.Echo";

/// Status codes of gRPC: <https://grpc.io/docs/guides/status-codes/>.
pub(super) const INVALID_ARGUMENT: u8 = 3;
pub(super) const NOT_FOUND: u8 = 5;
const RESOURCE_EXHAUSTED: u8 = 8;
pub(super) const UNIMPLEMENTED: u8 = 12;

/// A message, or the status that ends the call.
pub(super) type Answer = Result<Vec<u8>, u8>;
type Method = fn(&[u8]) -> Answer;

pub(super) async fn serve(stream: TcpStream) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(call(request)) });
    let serving =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        tracing::debug!("demo backend grpc: {error}");
    }
}

fn call(request: Request<Incoming>) -> Response<Answers> {
    let method: Method = match request.uri().path() {
        "/grpc.health.v1.Health/Check" => check_health,
        "/demo.Echo/Say" => |message| Ok(message.to_vec()),
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        // The same messages under an older name, which older clients ask for.
        | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => reflection::answer,
        _ => |_| Err(UNIMPLEMENTED),
    };
    let answers =
        Answers { request: request.into_body(), received: Vec::new(), method, is_over: false };
    let mut response = Response::new(answers);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn check_health(request: &[u8]) -> Answer {
    const SERVING: u8 = 1;
    let fields = protobuf::fields(request).ok_or(INVALID_ARGUMENT)?;
    let service = fields.iter().find(|(number, _)| *number == 1).map_or(&b""[..], |field| field.1);
    if ["", HEALTH, ECHO].iter().any(|known| known.as_bytes() == service) {
        Ok(protobuf::small(1, SERVING))
    } else {
        Err(NOT_FOUND)
    }
}

/// The body of a response: an answer for each message of the request, then the status.
struct Answers {
    request: Incoming,
    received: Vec<u8>,
    method: Method,
    is_over: bool,
}

impl Answers {
    /// The answer to the first whole message, if there is one.
    fn next(&mut self) -> Option<Answer> {
        const PREFIX: usize = 5;
        let (prefix, rest) = self.received.split_first_chunk::<PREFIX>()?;
        let [is_compressed, a, b, c, d] = *prefix;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if is_compressed != 0 {
            return Some(Err(UNIMPLEMENTED));
        }
        if length > MESSAGE_BYTES_MAX {
            return Some(Err(RESOURCE_EXHAUSTED));
        }
        let answer = (self.method)(rest.get(..length)?);
        self.received.drain(..PREFIX + length);
        Some(answer)
    }

    fn end(&mut self, status: u8) -> Frame<Bytes> {
        self.is_over = true;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(u16::from(status)));
        Frame::trailers(trailers)
    }
}

impl Body for Answers {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        while !self.is_over {
            match self.next() {
                Some(Ok(message)) => return Poll::Ready(Some(Ok(Frame::data(framed(&message))))),
                Some(Err(status)) => return Poll::Ready(Some(Ok(self.end(status)))),
                None => {}
            }
            match ready!(Pin::new(&mut self.request).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.received.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(Some(Ok(self.end(0)))),
            }
        }
        Poll::Ready(None)
    }
}

/// A message with the prefix that says its length: not compressed.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("answers are little longer than requests");
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_knows_the_services_of_the_demo() {
        assert_eq!(check_health(b""), Ok(vec![8, 1]));
        assert_eq!(check_health(&protobuf::bytes(1, b"demo.Echo")), Ok(vec![8, 1]));
        assert_eq!(check_health(&protobuf::bytes(1, b"demo.Nothing")), Err(NOT_FOUND));
        assert_eq!(check_health(&[0xff]), Err(INVALID_ARGUMENT));
    }

    #[test]
    fn a_message_is_sent_with_its_length() {
        assert_eq!(&framed(&[8, 1])[..], [0, 0, 0, 0, 2, 8, 1]);
    }
}
