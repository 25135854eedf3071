//! Requests and configurations for tests and benches of the table, built through public fields only.
#![allow(dead_code, reason = "each test file and bench uses a part of it")]
#![allow(missing_docs, unreachable_pub, reason = "it is included, not published")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proxy::balance::RegexCaches;
use proxy::epoch::{Epoch, Settings};
use proxy::http::{Field, Known, Method, RequestHead, Span};
use proxy::ir::*;
use proxy::table::Table;

/// Puts a head together as the HTTP/1 engine would.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: Option<String>,
    /// Name, value, hop-by-hop.
    pub fields: Vec<(String, String, bool)>,
}

impl Request {
    pub fn get(host: &str, path: &str) -> Self {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        let (method, host, path) = ("GET".to_owned(), host.to_owned(), path.to_owned());
        Self { method, host, path, query, fields: Vec::new() }
    }

    pub fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned(), false));
        self
    }

    pub fn hop(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned(), true));
        self
    }

    pub fn head(&self) -> RequestHead {
        let mut head = RequestHead::default();
        head.method = match &*self.method {
            "GET" => Method::Get,
            "POST" => Method::Post,
            _ => Method::Other,
        };
        head.method_span = put(&mut head.arena, &self.method);
        head.host = put(&mut head.arena, &self.host);
        head.path = put(&mut head.arena, &self.path);
        head.query = self.query.as_ref().map(|query| put(&mut head.arena, query));
        for (name, value, hop) in &self.fields {
            let (name, value) = (put(&mut head.arena, name), put(&mut head.arena, value));
            head.fields.push(Field {
                name,
                value,
                known: Known::Other,
                hop: *hop,
                ..Field::default()
            });
        }
        head
    }
}

fn put(arena: &mut Vec<u8>, text: &str) -> Span {
    let start = arena.len() as u32;
    arena.extend_from_slice(text.as_bytes());
    Span { start, end: arena.len() as u32 }
}

pub fn hostname(text: &str) -> Hostname {
    match text.strip_prefix("*.") {
        Some(suffix) => Hostname::Wildcard(suffix.into()),
        None => Hostname::Exact(text.into()),
    }
}

/// `= /x` exact, `~ /x` regular expression, else prefix.
pub fn path(text: &str) -> PathMatch {
    match text.split_once(' ') {
        Some(("=", path)) => PathMatch::Exact(path.into()),
        Some(("~", path)) => PathMatch::Regex(path.into()),
        _ => PathMatch::Prefix(text.into()),
    }
}

pub fn on(text: &str) -> Match {
    Match { path: path(text), method: None, headers: Vec::new(), query: Vec::new() }
}

/// `name=value` exact, `name~value` regular expression.
pub fn value(text: &str) -> ValueMatch {
    let at = text.find(['=', '~']).expect("a condition has `=` or `~`");
    let condition = match &text[at..=at] {
        "=" => ValueCondition::Exact(text[at + 1..].into()),
        _ => ValueCondition::Regex(text[at + 1..].into()),
    };
    ValueMatch { name: text[..at].into(), value: condition }
}

pub fn rule(matches: Vec<Match>, backends: &[(&str, u32)]) -> Rule {
    let reference = |&(name, weight): &(&str, u32)| BackendRef {
        target: Target::Backend(name.into()),
        weight,
        filters: Vec::new(),
    };
    let backends = backends.iter().map(reference).collect();
    Rule { matches, backends, ..Rule::default() }
}

pub fn route(name: &str, created: i64, hostnames: &[&str], rules: Vec<Rule>) -> AttachedRoute {
    AttachedRoute {
        hostnames: hostnames.iter().map(|name| hostname(name)).collect(),
        route: Arc::new(Route { name: name.into(), created, grpc: false, rules }),
    }
}

pub fn listener(name: &str, host: Option<&str>, routes: Vec<AttachedRoute>) -> Listener {
    let hostname = host.map(hostname);
    Listener { name: name.into(), port: 80, hostname, routes, ..Listener::default() }
}

pub fn port(protocol: Protocol, listeners: Vec<Listener>) -> Port {
    Port { port: 80, protocol, listeners, ..Port::default() }
}

/// One plain listener for every host, and an endpoint for each backend that a rule names.
pub fn ir(mut routes: Vec<AttachedRoute>) -> Ir {
    routes.sort_by(|a, b| (a.route.created, &a.route.name).cmp(&(b.route.created, &b.route.name)));
    let mut backends = BTreeMap::new();
    for rule in routes.iter().flat_map(|attached| &attached.route.rules) {
        for backend in &rule.backends {
            if let Target::Backend(key) = &backend.target {
                let endpoints = vec!["10.0.0.1:80".parse().expect("an address")];
                let new = Backend { websocket: true, endpoints, ..Backend::default() };
                backends.entry(Arc::clone(key)).or_insert_with(|| Arc::new(new));
            }
        }
    }
    Ir { ports: vec![port(Protocol::Http, vec![listener("ns/gw/http", None, routes)])], backends }
}

pub fn compile(id: u64, ir: &Ir, previous: Option<&Epoch>) -> Epoch {
    Epoch::compile(id, ir, Settings::default(), previous)
}

/// The only table of an epoch made from [`ir`].
pub fn table(epoch: &Epoch) -> &Table {
    &epoch.ports[0].listeners[0].table
}

/// What was found: route, rule, matched prefix.
pub type Found = Option<(String, usize, usize)>;

pub fn find(table: &Table, request: &Request, caches: &mut RegexCaches) -> Found {
    let hit = table.find(&request.head(), caches)?;
    Some((hit.rule.route.to_string(), hit.rule.index, hit.prefix))
}
