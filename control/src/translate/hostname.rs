//! Hostnames of listeners and routes: reading them and intersecting them.

use std::cmp::Ordering;
use std::cmp::Reverse;

use proxy::ir::Hostname;

/// Reads a hostname of the API; the empty name claims every host.
pub(super) fn parse(text: &str) -> Option<Hostname> {
    let lower = text.to_ascii_lowercase();
    match lower.strip_prefix("*.") {
        _ if lower.is_empty() => None,
        Some(suffix) => Some(Hostname::Wildcard(suffix.into())),
        None => Some(Hostname::Exact(lower.into())),
    }
}

/// The hostnames on which a listener and a route meet; `None` if they never do. Empty means every
/// host of the listener.
pub(super) fn intersect(listener: Option<&Hostname>, route: &[Hostname]) -> Option<Vec<Hostname>> {
    let (Some(listener), false) = (listener, route.is_empty()) else {
        return Some(route.to_vec());
    };
    let mut shared: Vec<_> = route.iter().filter_map(|host| narrower(listener, host)).collect();
    shared.sort();
    shared.dedup();
    (!shared.is_empty()).then_some(shared)
}

/// Whether some host is covered by both.
pub(super) fn overlap(left: Option<&Hostname>, right: Option<&Hostname>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => narrower(left, right).is_some(),
        _ => true,
    }
}

/// The more specific of two hostnames if one covers the other.
fn narrower(left: &Hostname, right: &Hostname) -> Option<Hostname> {
    let (covered, narrow) = match (left, right) {
        (Hostname::Exact(host), _) => (right.covers(host), left),
        (_, Hostname::Exact(host)) => (left.covers(host), right),
        (Hostname::Wildcard(a), Hostname::Wildcard(b)) => {
            let longer = if a.len() >= b.len() { left } else { right };
            (a == b || left.covers(b) || right.covers(a), longer)
        }
    };
    covered.then(|| narrow.clone())
}

/// Orders hostnames most specific first: exact, then longer wildcards, then none.
pub(super) fn by_specificity(left: Option<&Hostname>, right: Option<&Hostname>) -> Ordering {
    let rank = |hostname: Option<&Hostname>| match hostname {
        Some(Hostname::Exact(_)) => (0, Reverse(0)),
        Some(Hostname::Wildcard(suffix)) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    };
    rank(left).cmp(&rank(right)).then_with(|| left.cmp(&right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Vec<Hostname> {
        names.iter().filter_map(|name| parse(name)).collect()
    }

    #[test]
    fn a_wildcard_meets_the_exact_names_and_deeper_wildcards_below_it() {
        let listener = parse("*.Example.com");
        let route = hosts(&["a.example.com", "example.com", "*.x.example.com", "*.com", "b.org"]);
        let expected = hosts(&["a.example.com", "*.example.com", "*.x.example.com"]);
        let found = intersect(listener.as_ref(), &route).unwrap();
        assert_eq!(found.len(), 3);
        assert!(expected.iter().all(|host| found.contains(host)));
    }

    #[test]
    fn no_hostname_on_either_side_covers_all_of_the_other() {
        let route = hosts(&["a.example.com"]);
        assert_eq!(intersect(None, &route), Some(route.clone()));
        assert_eq!(intersect(parse("b.com").as_ref(), &[]), Some(Vec::new()));
        assert_eq!(intersect(parse("b.com").as_ref(), &route), None);
    }

    #[test]
    fn exact_names_stand_before_longer_wildcards_before_none() {
        let mut all = [None, parse("*.com"), parse("a.b"), parse("*.example.com")];
        all.sort_by(|left, right| by_specificity(left.as_ref(), right.as_ref()));
        let shown: Vec<_> = all
            .iter()
            .map(|host| host.as_ref().map_or_else(String::new, ToString::to_string))
            .collect();
        assert_eq!(shown, ["a.b", "*.example.com", "*.com", ""]);
    }
}
