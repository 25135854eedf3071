//! Whether an object of a Gateway is ours, and as it should be.
//!
//! Pure, on JSON. Used before every write and on what was listed.

use serde_json::{Value, json};

use crate::translate::infrastructure::hash;

/// The annotation that says what was applied, so that a field that is no longer wanted is noticed.
pub(super) const APPLIED: &str = "ringway.dev/applied";

/// The object as it is applied: with the mark of its content.
pub(super) fn marked(wanted: &Value) -> Value {
    let mut object = wanted.clone();
    object["metadata"]["annotations"][APPLIED] = json!(mark(wanted));
    object
}

/// Whether the Gateway with `uid` owns the object.
pub(super) fn is_owned(object: &Value, uid: &str) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|owner| owner["uid"] == uid && owner["controller"] == true)
}

/// Whether the object is what `wanted` says, and was applied as such.
pub(super) fn is_as(object: &Value, wanted: &Value) -> bool {
    object["metadata"]["annotations"][APPLIED] == mark(wanted) && holds(object, wanted)
}

fn mark(wanted: &Value) -> String {
    format!("{:016x}", hash(&wanted.to_string()))
}

/// Whether everything in `part` stands in `whole`.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (whole, Value::Object(part)) => part.iter().all(|(key, part)| match whole.get(key) {
            Some(whole) => holds(whole, part),
            None => is_empty(part),
        }),
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| holds(whole, part)))
        }
        (whole, part) => whole == part,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Value {
        json!({"metadata": {"name": "ringway-a", "annotations": {}, "labels": {"team": "blue"},
                "ownerReferences": [{"kind": "Gateway", "uid": "u", "controller": true}]},
               "spec": {"ports": [{"port": 80}, {"port": 90}]}})
    }

    #[test]
    fn what_the_server_adds_does_not_matter_and_what_it_lacks_does() {
        let mut there = marked(&wanted());
        there["metadata"]["uid"] = json!("x");
        there["spec"]["clusterIP"] = json!("10.96.0.9");
        there["spec"]["ports"][0]["nodePort"] = json!(30_000);
        assert!(is_as(&there, &wanted()));
        let mut edited = there.clone();
        edited["spec"]["ports"][1]["port"] = json!(91);
        assert!(!is_as(&edited, &wanted()));
        let mut edited = there.clone();
        edited["metadata"]["labels"]["team"] = json!("red");
        assert!(!is_as(&edited, &wanted()));
        let mut fewer = wanted();
        fewer["metadata"]["labels"] = json!({});
        assert!(!is_as(&there, &fewer), "a label that is no longer wanted");
    }

    #[test]
    fn only_the_gateway_that_controls_an_object_owns_it() {
        assert!(is_owned(&wanted(), "u"));
        assert!(!is_owned(&wanted(), "other"), "a Gateway that was there before");
        assert!(!is_owned(&json!({"metadata": {}}), "u"));
        let mut seen = wanted();
        seen["metadata"]["ownerReferences"][0]["controller"] = json!(false);
        assert!(!is_owned(&seen, "u"));
    }
}
