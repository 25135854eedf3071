//! A client of HTTP/1 as an exchange sees it: the connection, for one request at a time.

use std::io;
use std::time::{Duration, Instant};

use proxy::exchange::{Answer, Delivery, Forward};
use proxy::fault::Fault;
use proxy::h1::body::BodyReader;
use proxy::h1::encode::Text;
use proxy::http::{Framing, RequestHead, ResponseHead};
use proxy::limits;
use runtime::{Runtime, Size};

use crate::cut::Cut;
use crate::downstream::client::{Client, Respond};
use crate::downstream::origin::Origin;
use crate::downstream::{Downstream, Reader, Writer};
use crate::framed::{Framed, Inlet, Outlet, Unframed};
use crate::input::Input;
use crate::relay::Drain;

/// The receiving half while a request's body comes, holding the client to the least rate.
pub(crate) struct Body<'c, R: Runtime> {
    reader: &'c mut Reader<R>,
    pace: Option<Pace>,
}

/// Bytes and time of the current window; time in which the backend takes none is not counted.
#[derive(Debug)]
struct Pace {
    window: Duration,
    in_window: u64,
    waited: Duration,
}

impl Pace {
    /// When a wait that begins now must have given something.
    fn limit(&mut self, now: Instant) -> Instant {
        if self.in_window >= limits::body_bytes_min(self.window) {
            (self.in_window, self.waited) = (0, Duration::ZERO);
        }
        now + self.window.saturating_sub(self.waited)
    }
}

impl<R: Runtime> Client<R> for Downstream<R> {
    type Body<'c> = Unframed<Body<'c, R>>;
    type Response = Framed<Writer<R>>;
    const LINGERS: bool = true;

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn lend(&mut self, memory: &mut Vec<u8>) {
        self.writer.lend(memory);
    }

    fn body_here(&mut self, head: &RequestHead) -> Option<usize> {
        match head.framing {
            Framing::None => Some(0),
            Framing::Length(length) => usize::try_from(length).ok().filter(|length| {
                *length <= self.reader.input.bytes().len()
                    && *length <= limits::BODY_WITH_HEAD_BYTES_MAX
            }),
            Framing::Chunked | Framing::UntilClose => None,
        }
    }

    fn here(&self, length: usize) -> &[u8] {
        &self.reader.input.bytes()[..length]
    }

    fn take_here(&mut self, length: usize) {
        self.reader.input.consume(length);
    }

    fn skip_body(&mut self, head: &RequestHead) -> bool {
        let mut body = BodyReader::new(head.framing);
        while !body.is_done() {
            match body.read(self.reader.input.bytes()) {
                Ok(read) if read.consumed > 0 => self.reader.input.consume(read.consumed),
                Ok(_) | Err(_) => return body.is_done(),
            }
        }
        true
    }

    fn halves(
        &mut self,
        framing: Framing,
        window: Duration,
    ) -> (Self::Body<'_>, &mut Self::Response) {
        let pace = Some(Pace { window, in_window: 0, waited: Duration::ZERO });
        let body = Body { reader: &mut self.reader, pace };
        (Unframed::new(body, framing), &mut self.writer)
    }

    fn tunnel(&mut self) -> (Self::Body<'_>, &mut Self::Response) {
        self.writer.begin(Framing::UntilClose);
        let body = Body { reader: &mut self.reader, pace: None };
        (Unframed::tunnel(body), &mut self.writer)
    }

    fn response(&mut self) -> &mut Self::Response {
        &mut self.writer
    }

    fn cut(&self) -> Cut {
        Cut::Connection(self.writer.outlet.abort.clone())
    }

    fn is_gone(&self) -> bool {
        self.writer.outlet.abort.is_closed_by_peer()
    }
}

impl<R: Runtime> Inlet for Body<'_, R> {
    const BROKEN: Fault = Fault::Malformed(400);

    fn input(&mut self) -> &mut Input {
        &mut self.reader.input
    }

    async fn fill(&mut self, size: Size) -> io::Result<bool> {
        let Some(pace) = &mut self.pace else { return self.reader.fill(size).await };
        let since = R::now();
        self.reader.deadline.set_for_reading(pace.limit(since));
        let before = self.reader.input.bytes().len();
        let filled = self.reader.fill(size).await;
        self.reader.deadline.clear();
        pace.waited += R::now().saturating_duration_since(since);
        pace.in_window += self.reader.input.bytes().len().saturating_sub(before) as u64;
        filled
    }

    fn failed(&self) -> Fault {
        if self.reader.deadline.fired() { Fault::BodyTooSlow } else { Fault::ClientGone }
    }
}

impl<R: Runtime> Respond for Framed<Writer<R>> {
    async fn proceed(&mut self) -> io::Result<()> {
        self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        let sent = self.sent;
        self.flush().await?;
        self.sent = sent; // Only the final response counts.
        Ok(())
    }

    async fn interim(&mut self, forward: &Forward<'_>, response: &ResponseHead) -> io::Result<()> {
        forward.write_interim(response, &mut Text(&mut self.out));
        let sent = self.sent;
        self.flush().await?;
        self.sent = sent; // Only the final response counts.
        Ok(())
    }

    async fn begin(
        &mut self,
        forward: &Forward<'_>,
        (request, response): (&RequestHead, &ResponseHead),
        delivery: Delivery,
    ) -> io::Result<()> {
        forward.write_response(request, response, delivery, &mut Text(&mut self.out));
        Self::begin(self, delivery.framing);
        Ok(())
    }

    async fn answer(&mut self, answer: &Answer<'_>) -> io::Result<()> {
        self.out.clear();
        answer.write_head(&mut Text(&mut self.out));
        self.out.extend_from_slice(answer.body());
        self.sent = 0;
        self.flush().await
    }

    async fn finish(&mut self) {
        self.outlet.finish().await.ok();
    }

    fn cut_short(&mut self) {
        self.outlet.abort.reset();
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn is_stalled(&self) -> bool {
        self.outlet.stall.fired()
    }
}
