//! Which Services, Secrets and trust bundles are referred to, by whom, and how often.
//!
//! What nothing refers to costs no rebuild. References are found by the API's naming convention
//! (`…Ref`, `…Refs`) in the JSON of a spec, so that a new kind, filter or policy is covered without a
//! word here; one found too many does no harm. Invariant: the counts are those of the specs added.

use std::collections::HashMap;

use serde_json::Value;

use crate::api::{Kind, Name};

/// An object referred to by name.
pub(super) type Target = (Kind, Name);

/// Everything that a spec in `namespace` refers to.
pub(super) fn scan(namespace: &str, spec: &str) -> Vec<Target> {
    let mut found = Vec::new();
    if let Ok(spec) = serde_json::from_str(spec) {
        walk(namespace, &spec, "", &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn walk(namespace: &str, value: &Value, key: &str, found: &mut Vec<Target>) {
    match value {
        Value::Object(map) => {
            if key.ends_with("Ref") || key.ends_with("Refs") {
                found.extend(target(namespace, value, key));
            }
            for (key, value) in map {
                walk(namespace, value, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(namespace, item, key, found)),
        _ => {}
    }
}

fn target(namespace: &str, reference: &Value, key: &str) -> Option<Target> {
    let text = |field| reference.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = match text("kind") {
        Some("Service") => Kind::Service,
        Some("Secret") => Kind::Secret,
        Some("ConfigMap") => Kind::ConfigMap,
        Some("ClusterTrustBundle") => {
            return Some((Kind::ClusterTrustBundle, Name::new("", text("name")?)));
        }
        Some(_) => return None,
        None if key.starts_with("backend") => Kind::Service,
        None if key.to_ascii_lowercase().contains("certificate") => Kind::Secret,
        None => return None,
    };
    Some((kind, Name::new(text("namespace").unwrap_or(namespace), text("name")?)))
}

/// Counted references.
#[derive(Debug, Default)]
pub(super) struct References {
    by_referrer: HashMap<(Kind, Name), Box<[Target]>>,
    counts: HashMap<Target, u32>,
}

/// What a change of references did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shift {
    pub gained: Vec<Target>,
    pub lost: Vec<Target>,
}

impl References {
    pub(super) fn contains(&self, target: &Target) -> bool {
        self.counts.contains_key(target)
    }

    /// Replaces what one object refers to.
    pub(super) fn set(&mut self, referrer: (Kind, Name), targets: Vec<Target>) -> Shift {
        let before = if targets.is_empty() {
            self.by_referrer.remove(&referrer)
        } else if self.by_referrer.get(&referrer).is_some_and(|known| **known == *targets) {
            return Shift::default();
        } else {
            self.by_referrer.insert(referrer.clone(), targets.into())
        };
        let mut shift = Shift::default();
        for target in self.by_referrer.get(&referrer).into_iter().flatten() {
            let count = self.counts.entry(target.clone()).or_default();
            *count += 1;
            if *count == 1 {
                shift.gained.push(target.clone());
            }
        }
        for target in before.into_iter().flatten() {
            if let Some(count) = self.counts.get_mut(&target) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&target);
                    shift.lost.push(target);
                }
            }
        }
        shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_wherever_they_stand() {
        let spec = r#"{"parentRefs":[{"name":"g"}],"rules":[{
            "backendRefs":[{"name":"s","port":1,"filters":[
              {"type":"RequestMirror","requestMirror":{"backendRef":{"name":"m","namespace":"b"}}}]}],
            "filters":[{"extensionRef":{"kind":"ConfigMap","name":"c"}}]}],
            "listeners":[{"name":"l","tls":{"certificateRefs":[{"name":"t"},{"kind":"Other","name":"o"}]}}],
            "validation":{"caCertificateRefs":[{"kind":"ConfigMap","name":"ca","group":""},
              {"kind":"ClusterTrustBundle","name":"example.com:ca","group":"certificates.k8s.io"}]}}"#;
        let name = |name| Name::new("a", name);
        let expected = [
            (Kind::ClusterTrustBundle, Name::new("", "example.com:ca")),
            (Kind::ConfigMap, name("c")),
            (Kind::ConfigMap, name("ca")),
            (Kind::Secret, name("t")),
            (Kind::Service, name("s")),
            (Kind::Service, Name::new("b", "m")),
        ];
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(scan("a", spec), expected);
        assert!(scan("a", "no JSON").is_empty());
    }

    #[test]
    fn a_target_is_gained_by_its_first_referrer_and_lost_with_its_last() {
        let target = (Kind::Service, Name::new("a", "s"));
        let route = |name| (Kind::HttpRoute, Name::new("a", name));
        let mut all = References::default();
        let first = all.set(route("x"), vec![target.clone()]);
        assert_eq!(first, Shift { gained: vec![target.clone()], lost: vec![] });
        assert_eq!(all.set(route("y"), vec![target.clone()]), Shift::default());
        assert_eq!(all.set(route("y"), vec![target.clone()]), Shift::default(), "nothing new");
        assert_eq!(all.set(route("x"), vec![]), Shift::default());
        assert!(all.contains(&target));
        let last = all.set(route("y"), vec![]);
        assert_eq!(last, Shift { gained: vec![], lost: vec![target.clone()] });
        assert!(!all.contains(&target));
    }
}
