//! Which admin page answers which request.
//!
//! Pure but for the state it reads. GET and HEAD only; hyper leaves out the body of a HEAD answer.

use std::time::SystemTime;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName};
use hyper::{Method, Request, Response, StatusCode};

use super::status;
use crate::metrics::Metrics;
use crate::state::Shared;

type Answer = Response<Full<Bytes>>;

const PLAIN: &str = "text/plain; charset=utf-8";
const INDEX: &str = "Ringway admin

/livez                     200 while the control thread runs
/readyz                    200 when traffic may be sent here, else 503 with the reason
/metrics                   Prometheus text format
/status                    JSON: shards, epochs, Gateways, routes, problems
/histograms                HdrHistogram interval log (.hlog), tagged by shard and stage
/histograms?format=table   percentiles per shard and stage
";

pub(super) fn answer<B>(request: &Request<B>, state: &Shared, metrics: &Metrics) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let text = "only GET and HEAD are answered here\n";
        let answer = page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, text);
        return with(answer, ALLOW, "GET, HEAD");
    }
    match request.uri().path() {
        "/" => page(StatusCode::OK, PLAIN, INDEX),
        "/livez" => page(StatusCode::OK, PLAIN, "ok\n"),
        "/readyz" => match state.lock().ready() {
            Ok(()) => page(StatusCode::OK, PLAIN, "ok\n"),
            Err(why) => page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
        },
        "/metrics" => {
            page(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.text())
        }
        "/status" => page(StatusCode::OK, "application/json", status::json(&state.lock())),
        "/histograms" => histograms(request.uri().query(), state),
        path => {
            let text = format!("no page {path}; / lists them\n");
            page(StatusCode::NOT_FOUND, PLAIN, text)
        }
    }
}

fn histograms(query: Option<&str>, state: &Shared) -> Answer {
    let format = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("format="))
        .unwrap_or("hlog");
    let state = state.lock();
    match format {
        "hlog" => {
            let log = state.histograms.interval_log(SystemTime::now());
            let answer = page(StatusCode::OK, PLAIN, log);
            with(answer, CONTENT_DISPOSITION, "inline; filename=\"ringway.hlog\"")
        }
        "table" => page(StatusCode::OK, PLAIN, state.histograms.table()),
        _ => page(StatusCode::BAD_REQUEST, PLAIN, "format is hlog or table\n"),
    }
}

fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let answer = with(answer, CONTENT_TYPE, kind);
    with(answer, CACHE_CONTROL, "no-store")
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, hyper::header::HeaderValue::from_static(value));
    answer
}
