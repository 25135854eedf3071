//! Scripted reports and states for the tests of the operator's side.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use control::report::{
    Activity, AuthEnd, Datagrams, Dropped, Http2Counts, ListenState, ListenerRequests,
    ListenerStreams, MirrorEnd, Phase, Report, Stage, StreamCounts, Transport,
};
use control::state::{About, Shared, State};
use hdrhistogram::Histogram;

pub(crate) fn state(shards: usize) -> Shared {
    Shared::new(State::new(About {
        runtime: "epoll",
        runtime_reason: "asked for with --runtime".to_owned(),
        cores: (0..shards).map(|core| Some(runtime::cores::CoreId(core))).collect(),
        admin: None,
        started: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    }))
}

pub(crate) fn report(shard: usize, installed: u64) -> Report {
    Report {
        shard,
        installed,
        install_lag: Duration::from_millis(2),
        phase: Phase::Serving,
        listeners: vec![ListenState {
            transport: Transport::Tcp,
            address: ([127, 0, 0, 1], 80).into(),
            error: None,
        }],
        connections: 3,
        udp_sessions: 1,
        upstream_idle: 1,
        activity: Activity::default(),
    }
}

/// A report in which something of everything happened.
pub(crate) fn busy(shard: usize, installed: u64, listeners: usize) -> Report {
    let mut report = report(shard, installed);
    let histogram = |values: &[u64]| {
        let mut h = Histogram::<u32>::new_with_bounds(1, 60_000_000, 3).unwrap();
        values.iter().for_each(|value| h.record(*value).unwrap());
        h
    };
    let stages: [_; Stage::ALL.len()] =
        std::array::from_fn(|_| histogram(&[200, 3_000, 9_000_000]));
    report.activity = Activity {
        stages: Some(Box::new(stages)),
        requests: (0..listeners)
            .map(|i| ListenerRequests {
                listener: Arc::from(format!("default/web/l{i:03}")),
                by_class: [1, 2, 3, 4, 5, 6],
            })
            .collect(),
        streams: (0..listeners)
            .map(|i| ListenerStreams {
                listener: Arc::from(format!("default/web/l{i:03}")),
                counts: StreamCounts {
                    ended: 2,
                    lasted: Duration::from_millis(1500),
                    bytes_in: 10,
                    bytes_out: 20,
                },
            })
            .collect(),
        faults: proxy::fault::Fault::ALL.iter().map(|fault| (fault.code(), 2)).collect(),
        accepted: 10,
        refused: 1,
        upstream_opened: 4,
        upstream_reused: 6,
        retries: 2,
        mirrors: [3; MirrorEnd::ALL.len()],
        auth: [4; AuthEnd::ALL.len()],
        tls_handshakes: (7, 8),
        http2: Http2Counts {
            connections: 3,
            streams: 20,
            reset: 2,
            rejected: 4,
            broken: 1,
            abusive: 1,
        },
        datagrams: Datagrams {
            datagrams: [11, 12],
            bytes: [13, 14],
            dropped: [15; Dropped::ALL.len()],
            opened: 16,
            evicted: 17,
            failed: 18,
        },
        access_log: b"{}\n".to_vec(),
        access_log_dropped: 9,
    };
    report
}
