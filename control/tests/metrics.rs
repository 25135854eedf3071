//! What `/metrics` and `/histograms` say after scripted reports.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use control::api::Kind;
use control::metrics::{Metrics, SERIES_MAX, catalog};
use control::report::Stage;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use support::{busy, report, state};

fn series(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn counters_are_the_sums_of_all_reports() {
    let state = state(2);
    for (shard, epoch) in [(0, 1), (1, 1), (1, 2)] {
        state.lock().add(&busy(shard, epoch, 1));
    }
    let text = Metrics::new(state).text();
    for line in [
        r#"ringway_requests_total{class="5xx",listener="default/web/l000"} 15"#,
        r#"ringway_connections_accepted_total{shard="1"} 20"#,
        r#"ringway_connections{shard="0"} 3"#,
        r#"ringway_epoch_installed{shard="0"} 1"#,
        r#"ringway_epoch_installed{shard="1"} 2"#,
        r#"ringway_install_lag_seconds{shard="1"} 0.002"#,
        r#"ringway_faults_total{reason="no_route"} 6"#,
        r#"ringway_upstream_failures_total{reason="connect_failed"} 6"#,
        r#"ringway_tls_handshakes_total{result="failed"} 24"#,
        "ringway_access_log_dropped_total 27",
        r#"ringway_request_duration_seconds_bucket{shard="1",le="0.0001"} 0"#,
        r#"ringway_request_duration_seconds_bucket{shard="1",le="0.00025"} 2"#,
        r#"ringway_request_duration_seconds_bucket{shard="1",le="5"} 4"#,
        r#"ringway_request_duration_seconds_bucket{shard="1",le="+Inf"} 6"#,
        r#"ringway_request_duration_seconds_count{shard="1"} 6"#,
        r#"ringway_stage_duration_seconds_count{stage="route"} 9"#,
        r#"ringway_runtime_info{reason="asked for with --runtime",runtime="epoll"} 1"#,
    ] {
        let sorted = |line: &str| {
            let (name, rest) = line.split_once('{').unwrap_or((line, ""));
            let (labels, value) = rest.split_once('}').unwrap_or((rest, ""));
            let labels: BTreeSet<String> = labels.split(',').map(str::to_owned).collect();
            (name.to_owned(), labels, value.to_owned())
        };
        let known = series(&text).into_iter().any(|seen| sorted(seen) == sorted(line));
        assert!(known, "missing: {line}\n{text}");
    }
    assert!(!text.contains(r#"upstream_failures_total{reason="no_route""#));
}

#[test]
fn eight_shards_and_any_number_of_listeners_stay_within_the_series_limit() {
    let state = state(8);
    for shard in 0..8 {
        state.lock().add(&busy(shard, 1, 100));
    }
    for kind in Kind::ALL {
        state.lock().watches.note(kind, |watch| watch.lists += 1);
    }
    let text = Metrics::new(state).text();
    let count = series(&text).len();
    assert!(count <= SERIES_MAX, "{count}");
    assert!(count > 300, "the busiest case should be near: {count}");
    assert!(text.contains(r#"listener="other""#));
}

#[test]
fn a_listener_keeps_its_label_when_others_come() {
    let state = state(1);
    let mut first = busy(0, 1, 0);
    first.activity.requests = busy(0, 1, 100).activity.requests.split_off(80);
    state.lock().add(&first);
    let before = state.lock().requests.clone();
    state.lock().add(&busy(0, 1, 5));
    let after = state.lock().requests.clone();
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(before.iter().all(|(label, sums)| after[label] >= *sums));
}

#[test]
fn a_busy_scrape_shows_exactly_the_catalog() {
    let state = state(1);
    state.lock().add(&busy(0, 1, 1));
    state.lock().watches.note(Kind::Gateway, |watch| watch.events += 2);
    let text = Metrics::new(state).text();
    assert!(text.contains(r#"ringway_kube_events_total{kind="Gateway"} 2"#), "{text}");
    let types: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let catalog: BTreeMap<&str, &str> =
        catalog::ALL.iter().map(|entry| (entry.name, entry.kind.name())).collect();
    assert_eq!(types, catalog);
    for entry in catalog::ALL {
        let line = series(&text).into_iter().find(|line| line.starts_with(entry.name)).unwrap();
        for label in entry.labels {
            assert!(line.contains(&format!("{label}=\"")), "{label}: {line}");
        }
    }
}

#[test]
fn a_report_of_an_unknown_shard_changes_nothing() {
    let state = state(1);
    state.lock().add(&report(5, 3));
    assert_eq!(state.lock().installed(), 0);
}

#[test]
fn the_interval_log_reads_back_with_the_values_that_went_in() {
    let state = state(2);
    state.lock().add(&busy(1, 1, 0));
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_012);
    state.lock().histograms.tick(now);
    state.lock().add(&busy(0, 1, 0));
    let log = state.lock().histograms.interval_log(now + Duration::from_secs(1));
    let mut merged: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(interval.encoded_histogram())
                .unwrap();
            let h: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            merged.insert(interval.tag().unwrap().as_str().to_owned(), h);
        }
    }
    assert_eq!(merged.len(), 2 * Stage::ALL.len());
    let total = &merged["s0.total"];
    assert_eq!(total.len(), 3);
    assert_eq!(total.count_between(190, 210), 1);
    assert_eq!(total.count_between(8_990_000, 9_010_000), 1);
    assert!(merged.contains_key("s1.first_byte"));
}
