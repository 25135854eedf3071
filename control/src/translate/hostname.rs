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

/// Whether the text, in lower case, is a DNS name without wildcard.
pub(super) fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Whether a listener or a route may claim it: a DNS name that may begin with `*.`.
pub(super) fn is_claim(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    is_name(lower.strip_prefix("*.").unwrap_or(&lower))
}

/// The route's hostnames that meet the listener's; `None` if none does. Empty means every host of the
/// listener.
///
/// They are left as wide as the route wrote them: a request reaches a listener only by a host that it
/// claims, and of two routes on one listener the one with the more specific hostname goes first, also
/// where the listener is more specific than both.
pub(super) fn intersect(listener: Option<&Hostname>, route: &[Hostname]) -> Option<Vec<Hostname>> {
    let (Some(listener), false) = (listener, route.is_empty()) else {
        return Some(route.to_vec());
    };
    let meets = |host: &&Hostname| overlap(Some(listener), Some(host));
    let mut shared: Vec<_> = route.iter().filter(meets).cloned().collect();
    shared.sort();
    shared.dedup();
    (!shared.is_empty()).then_some(shared)
}

/// Whether some host is covered by both.
pub(super) fn overlap(left: Option<&Hostname>, right: Option<&Hostname>) -> bool {
    match (left, right) {
        (Some(Hostname::Exact(host)), Some(other)) | (Some(other), Some(Hostname::Exact(host))) => {
            other.covers(host)
        }
        (Some(Hostname::Wildcard(a)), Some(Hostname::Wildcard(b))) => {
            let under = |suffix: &str, longer: &str| {
                longer
                    .strip_suffix(suffix)
                    .is_some_and(|left| left.is_empty() || left.ends_with('.'))
            };
            under(a, b) || under(b, a)
        }
        _ => true,
    }
}

/// The wildcards that cover every host of `name`, from the narrowest.
pub(super) fn wider(name: &Hostname) -> Vec<Hostname> {
    let (Hostname::Exact(mut rest) | Hostname::Wildcard(mut rest)) = name.clone();
    let mut wider = Vec::new();
    while let Some((_, suffix)) = rest.split_once('.') {
        rest = suffix.into();
        wider.push(Hostname::Wildcard(rest.clone()));
    }
    wider
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
    fn a_wildcard_meets_the_names_below_it_and_the_wildcards_above_and_below_it() {
        let listener = parse("*.Example.com");
        let route = hosts(&["a.example.com", "example.com", "*.x.example.com", "*.com", "b.org"]);
        let expected = hosts(&["a.example.com", "*.com", "*.x.example.com"]);
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
