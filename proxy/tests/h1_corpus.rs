//! The message corpus, both directions: every case as one piece, cut at every byte, byte by byte.

mod vectors;

use proxy::http::Method;
use vectors::{Case, End, Outcome, cases, drive_request, drive_response, unescape};

const REQUESTS: &str = include_str!("vectors/requests.txt");
const RESPONSES: &str = include_str!("vectors/responses.txt");

/// Cases longer than this are cut at fewer places: near both ends, and at steps between.
const CUT_EVERYWHERE_BYTES_MAX: usize = 2048;

#[test]
fn every_request_case_gets_its_answer() {
    let cases = cases(REQUESTS);
    assert!(cases.len() >= 150, "{}", cases.len());
    for case in &cases {
        let outcome = drive_request([&case.data[..]].into_iter());
        check(case, &outcome, |error| error.status().to_string());
    }
}

#[test]
fn every_response_case_gets_its_answer() {
    let cases = cases(RESPONSES);
    assert!(cases.len() >= 70, "{}", cases.len());
    for case in &cases {
        let outcome = response(case, &mut [&case.data[..]].into_iter());
        check(case, &outcome, |_| "502".to_owned());
    }
}

#[test]
fn requests_do_not_depend_on_how_they_are_cut() {
    for case in cases(REQUESTS) {
        cut(&case, |pieces| drive_request(pieces));
    }
}

#[test]
fn responses_do_not_depend_on_how_they_are_cut() {
    for case in cases(RESPONSES) {
        cut(&case, |pieces| response(&case, pieces));
    }
}

#[test]
fn a_head_left_incomplete_does_not_change_the_next_message() {
    let cases = cases(REQUESTS);
    let mut head = proxy::http::RequestHead::default();
    for (at, case) in cases.iter().enumerate() {
        let before = &cases[(at + 7) % cases.len()].data;
        let _ = proxy::h1::request::read(&before[..before.len() / 2], &mut head);
        let whole = || [&case.data[..]].into_iter();
        let reused = vectors::drive_request_with(&mut head, whole());
        assert_eq!(reused, drive_request(whole()), "{}", case.name);
    }
}

fn response(case: &Case, pieces: &mut dyn Iterator<Item = &[u8]>) -> Outcome {
    let method = Method::of(case.fact("method").unwrap_or("GET").as_bytes());
    drive_response(method, case.fact("asked").is_some(), pieces)
}

fn check(case: &Case, outcome: &Outcome, status: impl Fn(proxy::h1::error::Error) -> String) {
    let name = &case.name;
    let in_body = case.fact("part") == Some("body");
    let is_response = matches!(case.want.as_str(), "502" | "cut");
    let got = match outcome.end {
        End::Done => "ok".to_owned(),
        End::Incomplete if outcome.head.is_empty() => "wait".to_owned(),
        // A request body that goes on waits; a response whose backend closed is cut.
        End::Incomplete if is_response => "cut".to_owned(),
        End::Incomplete => "wait".to_owned(),
        End::Head(error) => status(error),
        End::Body(_) if is_response => "cut".to_owned(),
        End::Body(error) => status(error),
    };
    assert_eq!(got, case.want, "{name}: {outcome:?}");
    if !matches!(outcome.end, End::Done | End::Incomplete) {
        assert_eq!(matches!(outcome.end, End::Body(_)), in_body, "{name}: {outcome:?}");
    }
    if case.want != "ok" {
        return;
    }
    for (key, want) in &case.facts {
        let got = match key.as_str() {
            "asked" => continue,
            "method" if !outcome.head.iter().any(|(k, _)| k == key) => continue,
            "body" => {
                assert_eq!(outcome.body, unescape(want), "{name}: body");
                continue;
            }
            "trailers" => {
                assert_eq!(outcome.trailers, unescape(want), "{name}: trailers");
                continue;
            }
            "rest" => {
                assert_eq!(outcome.rest, unescape(want), "{name}: rest");
                continue;
            }
            _ => outcome.head.iter().find(|(k, _)| k == key),
        };
        let (_, got) = got.unwrap_or_else(|| panic!("{name}: no {key}"));
        assert_eq!(got, want, "{name}: {key}");
    }
}

fn cut(case: &Case, drive: impl Fn(&mut dyn Iterator<Item = &[u8]>) -> Outcome) {
    let (name, data) = (&case.name, &case.data[..]);
    let whole = drive(&mut [data].into_iter());
    let compare = |got: Outcome, at: usize| {
        assert_eq!(got, whole, "{name}: cut at {at}");
    };
    for at in 0..data.len() {
        let near_an_end = at < 64 || data.len() - at < 64;
        if data.len() <= CUT_EVERYWHERE_BYTES_MAX || near_an_end || at % 1021 == 0 {
            let (one, two) = data.split_at(at);
            compare(drive(&mut [one, two].into_iter()), at);
        }
    }
    compare(drive(&mut data.chunks(1)), 1);
}
