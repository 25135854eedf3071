//! The compiled table answers as a naive scan does that transcribes the API's text on precedence,
//! whether compiled from nothing or from the epoch before.
#![allow(missing_docs, reason = "a test")]

mod table_kit;

use std::cmp::Reverse;
use std::sync::Arc;

use proptest::prelude::*;
use proxy::balance::RegexCaches;
use proxy::ir::*;
use table_kit::{Found, Request, compile, find, ir, on, table};

const HOSTS: [&str; 7] = ["a.x.com", "b.x.com", "x.com", "a.b.x.com", "com", "a.x.com.com", "x"];
const HOSTNAMES: [&str; 6] = ["a.x.com", "b.x.com", "*.x.com", "*.com", "*.b.x.com", "x.com"];
const PATHS: [&str; 12] =
    ["/", "/a", "/a/", "/a/b", "/ab", "/b", "/a/b/c", "/a/b/", "/b/a", "/abc", "*", "/b/b/b/b"];
const PREFIXES: [&str; 7] = ["/", "/a", "/a/", "/a/b", "/ab", "/b/a/", "/b"];
const VALUES: [&str; 4] = ["a", "b", "a, b", ""];
const QUERIES: [&str; 8] =
    ["", "q=a", "q=%61", "p=b&q=a", "q=b&q=a", "q", "p=a+b&q=b", "&&q=a&p=%zz"];

/// Whether an expression should match.
type Meaning = fn(&str) -> bool;

/// Expressions with what they mean, so that the oracle does not run our engine.
const EXPRESSIONS: [(&str, Meaning); 5] = [
    ("/a.*", |text| text.starts_with("/a")),
    ("a|a, b", |text| text == "a" || text == "a, b"),
    ("[/ab]+", |text| !text.is_empty() && text.chars().all(|c| "/ab".contains(c))),
    ("", str::is_empty),
    ("/b(/b)*", |text| text.starts_with("/b") && text[2..].replace("/b", "").is_empty()),
];

fn expression(text: &str) -> impl Fn(&str) -> bool {
    EXPRESSIONS.iter().find(|(pattern, _)| *pattern == text).expect("a listed expression").1
}

fn one_of<const N: usize>(texts: [&'static str; N]) -> impl Strategy<Value = Arc<str>> {
    proptest::sample::select(texts.to_vec()).prop_map(Arc::from)
}

fn pattern() -> impl Strategy<Value = Arc<str>> {
    (0..EXPRESSIONS.len()).prop_map(|at| EXPRESSIONS[at].0.into())
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        3 => one_of(PREFIXES).prop_map(PathMatch::Prefix),
        2 => one_of(PATHS).prop_map(PathMatch::Exact),
        1 => pattern().prop_map(PathMatch::Regex),
    ]
}

fn conditions(names: [&'static str; 2]) -> impl Strategy<Value = Vec<ValueMatch>> {
    let condition = prop_oneof![
        one_of(["a", "b", "a, b", "", "a b"]).prop_map(ValueCondition::Exact),
        pattern().prop_map(ValueCondition::Regex),
    ];
    let each = proptest::option::weighted(0.25, condition);
    [each.clone(), each].prop_map(move |values| {
        let named = names.into_iter().zip(values);
        named.filter_map(|(name, v)| Some(ValueMatch { name: name.into(), value: v? })).collect()
    })
}

fn a_match() -> impl Strategy<Value = Match> {
    let method = proptest::option::weighted(0.25, one_of(["GET", "POST", "PURGE"]));
    (path_match(), method, conditions(["h", "i"]), conditions(["q", "p"]))
        .prop_map(|(path, method, headers, query)| Match { path, method, headers, query })
}

fn a_route() -> impl Strategy<Value = (i64, Vec<Hostname>, Vec<Rule>)> {
    let hostnames = proptest::sample::subsequence(HOSTNAMES.to_vec(), 0..=3);
    let backends = proptest::sample::subsequence(vec![("b/a", 1), ("b/b", 2), ("b/c", 0)], 0..=3);
    let rule = (proptest::collection::vec(a_match(), 1..4), backends)
        .prop_map(|(matches, backends)| table_kit::rule(matches, &backends));
    (0..3_i64, hostnames, proptest::collection::vec(rule, 1..4)).prop_map(
        |(created, hostnames, rules)| {
            (created, hostnames.into_iter().map(table_kit::hostname).collect(), rules)
        },
    )
}

fn named(at: usize, (created, hostnames, rules): (i64, Vec<Hostname>, Vec<Rule>)) -> AttachedRoute {
    let name = format!("ns{}/r{}", at % 3, at).into();
    AttachedRoute { hostnames, route: Arc::new(Route { name, created, grpc: false, rules }) }
}

fn routes(count: usize) -> impl Strategy<Value = Vec<AttachedRoute>> {
    proptest::collection::vec(a_route(), 0..=count)
        .prop_map(|all| all.into_iter().enumerate().map(|(at, r)| named(at, r)).collect())
}

fn a_request() -> impl Strategy<Value = Request> {
    let value = proptest::sample::select(VALUES.to_vec());
    let name = proptest::sample::select(vec!["h", "i"]);
    let field = (name, value, proptest::bool::weighted(0.2))
        .prop_map(|(name, value, hop)| (name.to_owned(), value.to_owned(), hop));
    (
        proptest::sample::select(vec!["GET", "POST", "PURGE", "get"]),
        proptest::sample::select(HOSTS.to_vec()),
        proptest::sample::select(PATHS.to_vec()),
        proptest::option::of(proptest::sample::select(QUERIES.to_vec())),
        proptest::collection::vec(field, 0..4),
    )
        .prop_map(|(method, host, path, query, fields)| Request {
            method: method.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            fields,
        })
}

fn value_holds(condition: &ValueCondition, value: &str) -> bool {
    match condition {
        ValueCondition::Exact(wanted) => &**wanted == value,
        ValueCondition::Regex(pattern) => expression(pattern)(value),
    }
}

fn header_value(request: &Request, name: &str) -> Option<String> {
    let lines = request.fields.iter().filter(|(n, _, hop)| n == name && !hop);
    let values: Vec<&str> = lines.map(|(_, value, _)| &**value).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn query_value(request: &Request, name: &str) -> Option<String> {
    let decode = |text: &str| text.replace('+', " ").replace("%61", "a");
    let pairs = request.query.as_ref()?.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| decode(key) == name)
        .map(|(_, value)| decode(value))
}

/// Class of the path match (exact, prefix, expression), its length, and the prefix for rewrites.
fn path_rank(path: &PathMatch, request: &str) -> Option<(u8, usize, usize)> {
    match path {
        PathMatch::Exact(wanted) => (&**wanted == request).then_some((2, 0, request.len())),
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.trim_end_matches('/');
            let rest = request.strip_prefix(prefix)?;
            let whole = prefix.is_empty() || rest.is_empty() || rest.starts_with('/');
            whole.then_some((1, prefix.len(), prefix.len()))
        }
        PathMatch::Regex(pattern) => expression(pattern)(request).then_some((0, 0, request.len())),
    }
}

fn match_holds(found: &Match, request: &Request) -> bool {
    let header = |c: &ValueMatch| {
        header_value(request, &c.name).is_some_and(|value| value_holds(&c.value, &value))
    };
    let query = |c: &ValueMatch| {
        query_value(request, &c.name).is_some_and(|value| value_holds(&c.value, &value))
    };
    found.method.as_ref().is_none_or(|method| **method == *request.method)
        && found.headers.iter().all(header)
        && found.query.iter().all(query)
}

/// Exact names before wildcards before every host; wildcards by length.
fn host_ranks(attached: &AttachedRoute, host: &str) -> Vec<(u8, usize)> {
    if attached.hostnames.is_empty() {
        return vec![(0, 0)];
    }
    let covering = attached.hostnames.iter().filter(|name| name.covers(host));
    covering
        .map(|name| match name {
            Hostname::Exact(_) => (2, 0),
            Hostname::Wildcard(suffix) => (1, suffix.len()),
        })
        .collect()
}

/// Every match of every rule of every route, and the greatest by the API's criteria in turn.
fn naive(routes: &[AttachedRoute], request: &Request) -> Found {
    let mut best = None;
    for attached in routes {
        let route = &attached.route;
        for host in host_ranks(attached, &request.host) {
            for (rule_at, rule) in route.rules.iter().enumerate() {
                for (match_at, found) in rule.matches.iter().enumerate() {
                    let Some((class, length, prefix)) = path_rank(&found.path, &request.path)
                    else {
                        continue;
                    };
                    if !match_holds(found, request) {
                        continue;
                    }
                    let rank = (
                        (host, class, length, found.method.is_some()),
                        (found.headers.len(), found.query.len()),
                        Reverse((route.created, route.name.to_string(), rule_at, match_at)),
                    );
                    let here = Some((rank, (route.name.to_string(), rule_at, prefix)));
                    if best.as_ref().map(|(rank, _)| rank) < here.as_ref().map(|(rank, _)| rank) {
                        best = here;
                    }
                }
            }
        }
    }
    best.map(|(_, found)| found)
}

/// What happens to each route of the first epoch, by position.
#[derive(Clone, Debug)]
enum Edit {
    Keep,
    /// An equal route in another allocation.
    Copy,
    Remove,
    Replace((i64, Vec<Hostname>, Vec<Rule>)),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        4 => Just(Edit::Keep),
        2 => Just(Edit::Copy),
        1 => Just(Edit::Remove),
        1 => a_route().prop_map(Edit::Replace),
    ];
    proptest::collection::vec(edit, 8)
}

fn edited(routes: &[AttachedRoute], edits: &[Edit]) -> Vec<AttachedRoute> {
    let mut next = Vec::new();
    for (old, edit) in routes.iter().zip(edits.iter().cycle()) {
        match edit {
            Edit::Keep => next.push(old.clone()),
            Edit::Copy => next.push(AttachedRoute {
                hostnames: old.hostnames.clone(),
                route: Arc::new(Route::clone(&old.route)),
            }),
            Edit::Remove => {}
            // Under its old name: no two routes of one configuration share one.
            Edit::Replace((created, hostnames, rules)) => {
                let (name, rules) = (Arc::clone(&old.route.name), rules.clone());
                let route = Arc::new(Route { name, created: *created, grpc: false, rules });
                next.push(AttachedRoute { hostnames: hostnames.clone(), route });
            }
        }
    }
    next
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_finds_what_a_naive_scan_finds(
        routes in routes(7),
        requests in proptest::collection::vec(a_request(), 24),
    ) {
        let epoch = compile(1, &ir(routes.clone()), None);
        let mut caches = RegexCaches::default();
        for request in &requests {
            let found = find(table(&epoch), request, &mut caches);
            prop_assert_eq!(found, naive(&routes, request), "{:?}", request);
        }
    }

    #[test]
    fn compiling_on_top_of_any_epoch_finds_what_compiling_from_nothing_finds(
        first in routes(8),
        edits in edits(),
        more in edits(),
        requests in proptest::collection::vec(a_request(), 12),
    ) {
        let mut caches = RegexCaches::default();
        let mut routes = first;
        let mut epoch = compile(1, &ir(routes.clone()), None);
        for (id, edits) in [(2, &edits), (3, &more)] {
            routes = edited(&routes, edits);
            let next = compile(id, &ir(routes.clone()), Some(&epoch));
            for request in &requests {
                let found = find(table(&next), request, &mut caches);
                prop_assert_eq!(found, naive(&routes, request), "{:?}", request);
            }
            for (slot, old) in epoch.backends.iter().enumerate() {
                let Some(old) = old else { continue };
                let stays = next.backends.iter().position(|new| {
                    new.as_ref().is_some_and(|new| new.name == old.name)
                });
                prop_assert!(stays.is_none_or(|now| now == slot), "{} moved", old.name);
            }
            epoch = next;
        }
    }
}

#[test]
fn the_generators_reach_hits_of_every_kind() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut exact, mut prefix, mut regex, mut misses) = (0, 0, 0, 0);
    for _ in 0..300 {
        let all = routes(7).new_tree(&mut runner).expect("a value").current();
        let request = a_request().new_tree(&mut runner).expect("a value").current();
        let Some((name, rule, _)) = naive(&all, &request) else {
            misses += 1;
            continue;
        };
        let route = all.iter().find(|r| *r.route.name == *name).expect("it was found");
        for found in &route.route.rules[rule].matches {
            match path_rank(&found.path, &request.path) {
                Some((2, ..)) => exact += 1,
                Some((1, ..)) => prefix += 1,
                Some(_) => regex += 1,
                None => {}
            }
        }
    }
    assert!(
        exact > 10 && prefix > 10 && regex > 5 && misses > 10,
        "{exact} {prefix} {regex} {misses}"
    );
    assert!(path_rank(&on("/v2").path, "/v2example").is_none());
}
