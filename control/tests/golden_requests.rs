//! Golden traffic: which rule the data plane gives to requests on the sockets of a golden case.
//!
//! `golden/NAME.requests.yaml` lists requests for `golden/NAME.in.yaml`: the case is translated and
//! compiled as a running gateway does it, and each request is looked up. `answer` is
//! `namespace/route rule` or a status. No sockets: what a rule then does is tested elsewhere.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use control::files::Files;
use control::store::Store;
use control::translate::{Cache, translate};
use control::yaml;
use proxy::balance::RegexCaches;
use proxy::epoch::{Claim, Epoch, Settings};
use proxy::http::{Field, Known, Method, RequestHead, Span};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Requests {
    requests: Vec<Request>,
}

#[derive(Debug, Deserialize)]
struct Request {
    port: u16,
    /// The name that the TLS session was opened for.
    sni: Option<String>,
    host: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    answer: String,
}

impl Request {
    fn head(&self) -> RequestHead {
        let mut head = RequestHead { method: Method::Get, ..RequestHead::default() };
        head.method_span = put(&mut head.arena, "GET");
        head.host = put(&mut head.arena, &self.host);
        head.path = put(&mut head.arena, &self.path);
        for (name, value) in &self.headers {
            let (name, value) = (put(&mut head.arena, name), put(&mut head.arena, value));
            head.fields.push(Field { name, value, known: Known::Other, ..Field::default() });
        }
        head
    }

    fn ask(&self, epoch: &Epoch) -> String {
        let Some(port) = epoch.ports.iter().find(|port| port.port == self.port) else {
            return "refused".to_owned();
        };
        match port.claim(&self.host, self.sni.as_deref()) {
            Claim::Misdirected => "421".to_owned(),
            Claim::Unclaimed => "404".to_owned(),
            Claim::Listener(listener) => {
                match listener.table.find(&self.head(), &mut RegexCaches::default()) {
                    Some(hit) => format!("{} {}", hit.rule.route, hit.rule.index),
                    None => "404".to_owned(),
                }
            }
        }
    }
}

fn put(arena: &mut Vec<u8>, text: &str) -> Span {
    let start = u32::try_from(arena.len()).unwrap();
    arena.extend_from_slice(text.as_bytes());
    Span { start, end: u32::try_from(arena.len()).unwrap() }
}

fn epoch(case: &Path) -> Epoch {
    let mut files = Files::open(&[case.to_owned()]).unwrap();
    let mut store = Store::new(Some("ringway".into()), [].into());
    files.apply(&mut store);
    let found = translate(&store.snapshot(), &mut Cache::default());
    Epoch::compile(1, &found.ir, Settings::default(), None)
}

#[test]
fn requests_reach_the_rules_that_the_specification_names() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (mut asked, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        let Some(case) = name.strip_suffix(".requests.yaml") else { continue };
        let epoch = epoch(Path::new(&format!("{case}.in.yaml")));
        let (documents, errors) = yaml::parse(&fs::read_to_string(&path).unwrap());
        assert_eq!(errors, []);
        let list: Requests = documents[0].decode().unwrap();
        for request in list.requests {
            asked += 1;
            let found = request.ask(&epoch);
            if found != request.answer {
                wrong.push(format!("{case}: {request:?} got {found}"));
            }
        }
    }
    assert!(asked >= 40, "only {asked} requests");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
