//! When a change is served: asks the gateway over and over, and says what the answers show.
//!
//! Blocking sockets, no pauses between requests. Called by the measuring files here. Invariant: a
//! change counts as served by every shard from the first of [`AGREEING`] right answers in a row, each
//! on a connection of its own; one of two shards stays unasked once in a million times.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::objects::VERSION_ECHO;
use crate::http;
use crate::probe::{self, Answered};
use crate::process;

/// So many answers in a row must agree.
const AGREEING: usize = 20;

/// What one answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The configuration that is waited for.
    New,
    /// A whole answer by another configuration.
    Old,
    /// Another status: the route is not served at all, or badly.
    Wrong(u16),
}

/// Judges one answer.
pub(crate) fn judge(status: u16, version: Option<&[u8]>, wanted: &str) -> Verdict {
    match status {
        200 if version == Some(wanted.as_bytes()) => Verdict::New,
        200 => Verdict::Old,
        other => Verdict::Wrong(other),
    }
}

/// When a change was served, from when it was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// By the shard that holds a connection which was open before.
    pub(crate) first: Instant,
    /// By all.
    pub(crate) all: Instant,
    /// Answers of another status on the way, failed connections included.
    pub(crate) wrong: u64,
}

/// What to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) gateway: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: &'static str,
    pub(crate) wanted: String,
}

impl Question {
    /// Asks once, on a connection of its own.
    pub(crate) fn once(&self) -> io::Result<Verdict> {
        probe::ask_once(self.gateway, &self.host, self.path).map(|answer| self.judge(&answer))
    }

    fn judge(&self, answer: &Answered) -> Verdict {
        judge(answer.status, http::field(&answer.head, VERSION_ECHO), &self.wanted)
    }

    /// Starts asking; the change is to be sent after this returns.
    pub(crate) fn start(
        &self,
        limit: Duration,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<Served>>> {
        let question = self.clone();
        let connection = probe::connect(self.gateway)
            .with_context(|| format!("cannot connect to {}", self.gateway))?;
        let end = Instant::now() + limit;
        let asks = move || question.ask(connection, end);
        Ok(thread::Builder::new().name("asks".to_owned()).spawn(asks)?)
    }

    fn ask(&self, mut connection: TcpStream, end: Instant) -> anyhow::Result<Served> {
        let mut wrong = 0;
        let first = loop {
            self.check(end)?;
            match probe::ask(&mut connection, &self.host, self.path)
                .map(|answer| self.judge(&answer))
            {
                Ok(Verdict::New) => break Instant::now(),
                Ok(Verdict::Old) => {}
                Ok(Verdict::Wrong(_)) => wrong += 1,
                Err(_) => {
                    wrong += 1;
                    connection = probe::connect(self.gateway)?;
                }
            }
        };
        let (mut since, mut agreeing) = (first, 0);
        while agreeing < AGREEING {
            self.check(end)?;
            match self.once() {
                Ok(Verdict::New) if agreeing == 0 => (since, agreeing) = (Instant::now(), 1),
                Ok(Verdict::New) => agreeing += 1,
                Ok(Verdict::Old) => agreeing = 0,
                Ok(Verdict::Wrong(_)) | Err(_) => (agreeing, wrong) = (0, wrong + 1),
            }
        }
        Ok(Served { first, all: since, wrong })
    }

    fn check(&self, end: Instant) -> anyhow::Result<()> {
        process::check_interrupt()?;
        if Instant::now() > end {
            bail!("{} was not served as {} in time", self.host, self.wanted);
        }
        Ok(())
    }
}

/// Waits until each of several questions was answered right once; returns when the last was, and
/// how many wrong answers (no refused or broken connections) came before.
pub(crate) fn wait_for_all(
    questions: Vec<Question>,
    limit: Duration,
) -> anyhow::Result<(Instant, u64)> {
    let end = Instant::now() + limit;
    let mut open = questions;
    let mut wrong = 0;
    while let Some(question) = open.last() {
        question.check(end)?;
        match question.once() {
            Ok(Verdict::New) => drop(open.pop()),
            Ok(Verdict::Old) => {}
            Ok(Verdict::Wrong(_)) => wrong += 1,
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok((Instant::now(), wrong))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_200_of_the_wanted_version_is_new() {
        assert_eq!(judge(200, Some(b"7"), "7"), Verdict::New);
        assert_eq!(judge(200, Some(b"6"), "7"), Verdict::Old);
        assert_eq!(judge(200, None, "7"), Verdict::Old);
        assert_eq!(judge(404, Some(b"7"), "7"), Verdict::Wrong(404));
    }

    /// Answers the n-th request with the n-th entry, then with the last for ever.
    fn gateway(script: Vec<(u16, &'static str)>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut answers = script.iter().chain(std::iter::repeat(script.last().unwrap()));
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut block = [0; 1024];
                while let Ok(n) = connection.read(&mut block)
                    && n > 0
                {
                    let (status, version) = answers.next().unwrap();
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\n{VERSION_ECHO}: {version}\r\ncontent-length: 0\r\n\r\n"
                    );
                    if connection.write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                    if block[..n].windows(5).any(|word| word == b"close") {
                        break;
                    }
                    if *version == "7" {
                        break;
                    }
                }
            }
        });
        address
    }

    #[test]
    fn an_old_answer_among_new_ones_starts_the_count_again() {
        let script = vec![(200, "6"), (200, "7"), (200, "7"), (200, "6"), (503, "6"), (200, "7")];
        let question = Question {
            gateway: gateway(script),
            host: "a".to_owned(),
            path: "/",
            wanted: "7".to_owned(),
        };
        let asks = question.start(Duration::from_secs(20)).unwrap();
        let served = asks.join().unwrap().unwrap();
        assert!(served.all > served.first);
        assert_eq!(served.wrong, 1);
    }

    #[test]
    fn a_change_that_never_comes_ends_with_an_error() {
        let question = Question {
            gateway: gateway(vec![(200, "6")]),
            host: "a".to_owned(),
            path: "/",
            wanted: "7".to_owned(),
        };
        let asks = question.start(Duration::from_millis(20)).unwrap();
        assert!(asks.join().unwrap().is_err());
    }
}
