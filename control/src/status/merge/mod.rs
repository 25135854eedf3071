//! What to change in an object's status so that it says what we want and keeps what others said.
//!
//! Pure: it sees the status that the API server shows and the one we want, both as JSON, and gives a
//! merge patch, or nothing when they already say the same. The [writer](super::writer) is the only
//! caller. Invariants: conditions whose type is not ours, entries of other controllers and fields that
//! we do not know keep their value and place; `lastTransitionTime` moves only with a condition's
//! status; merging twice changes nothing the second time.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::shape::{Entries, Shape};
use crate::api::GATEWAY_GROUP;

/// The longest message of a condition that the API takes, in bytes (it counts characters).
pub const MESSAGE_MAX: usize = 32_768;
const CUT: &str = " … (cut)";

/// How to get from what is there to what should be there.
#[derive(Clone, Copy, Debug)]
pub struct Merge<'a> {
    /// What the kind's status looks like.
    pub shape: &'a Shape,
    /// Namespace of the object, which references in it default to.
    pub namespace: &'a str,
    /// Whose entries of shared lists are ours.
    pub controller: &'a str,
    /// The time of transitions, as the API writes it.
    pub now: &'a str,
}

impl Merge<'_> {
    /// The merge patch of `status`, or `None` if `observed` already says what `desired` does.
    #[must_use]
    pub fn patch(&self, observed: Option<&Value>, desired: &Value) -> Option<Value> {
        let nothing = Map::new();
        let observed = observed.and_then(Value::as_object).unwrap_or(&nothing);
        let mut patch = Map::new();
        for field in self.shape.fields {
            let before = observed.get(*field);
            let wanted = self.field(field, before, desired.get(*field));
            if is_empty(before) && is_empty(Some(&wanted)) || before == Some(&wanted) {
                continue;
            }
            let gone = is_empty(Some(&wanted)) && !self.shape.required.contains(field);
            patch.insert((*field).to_owned(), if gone { Value::Null } else { wanted });
        }
        (!patch.is_empty()).then_some(Value::Object(patch))
    }

    fn field(&self, name: &str, before: Option<&Value>, wanted: Option<&Value>) -> Value {
        let entries = self.shape.entries.as_ref().filter(|entries| entries.field() == name);
        match (name, entries) {
            ("conditions", _) => self.conditions(self.shape.conditions, before, wanted),
            (_, Some(Entries::Listeners { conditions })) => {
                self.listeners(conditions, before, wanted)
            }
            (_, Some(Entries::Shared { reference, conditions, max, .. })) => {
                let mut merged = self.shared(reference, conditions, before, wanted);
                // Our newest entries stand last; the API refuses a list that is too long.
                merged.truncate(*max);
                Value::Array(merged)
            }
            ("addresses", _) => addresses(before, wanted),
            (_, None) => wanted.cloned().unwrap_or(Value::Null),
        }
    }

    /// The conditions there should be: others' as they are, ours where they stood, new ones last.
    fn conditions(&self, ours: &[&str], before: Option<&Value>, wanted: Option<&Value>) -> Value {
        let mut wanted: Vec<Option<&Value>> = items(wanted).iter().map(Some).collect();
        let mut result = Vec::new();
        for condition in items(before) {
            let kind = text(condition, "type");
            let mine =
                wanted.iter_mut().find(|one| one.is_some_and(|one| text(one, "type") == kind));
            match mine.and_then(Option::take) {
                Some(mine) => result.push(self.condition(Some(condition), mine)),
                None if ours.contains(&kind) => {}
                None => result.push(condition.clone()),
            }
        }
        result.extend(wanted.into_iter().flatten().map(|mine| self.condition(None, mine)));
        Value::Array(result)
    }

    fn condition(&self, before: Option<&Value>, wanted: &Value) -> Value {
        let mut result = wanted.as_object().cloned().unwrap_or_default();
        if let Some(message) = result.get("message").and_then(Value::as_str)
            && message.len() > MESSAGE_MAX
        {
            let message = cut(message);
            result.insert("message".to_owned(), Value::String(message));
        }
        let same = before.filter(|before| text(before, "status") == text(wanted, "status"));
        let since = same.map(|before| text(before, "lastTransitionTime"));
        let since = since.filter(|since| !since.is_empty()).unwrap_or(self.now);
        result.insert("lastTransitionTime".to_owned(), json!(since));
        Value::Object(result)
    }

    /// One entry per listener of ours, in our order; fields that are not ours stay in each.
    fn listeners(&self, ours: &[&str], before: Option<&Value>, wanted: Option<&Value>) -> Value {
        let before = items(before);
        let merged = items(wanted).iter().map(|wanted| {
            let known = before.iter().find(|one| text(one, "name") == text(wanted, "name"));
            self.entry(ours, known, wanted)
        });
        Value::Array(merged.collect())
    }

    /// Other controllers' entries as they are, ours where they stood, new ones last.
    fn shared(
        &self,
        reference: &str,
        ours: &[&str],
        before: Option<&Value>,
        wanted: Option<&Value>,
    ) -> Vec<Value> {
        let mut wanted: Vec<Option<&Value>> = items(wanted).iter().map(Some).collect();
        let mut result = Vec::new();
        for entry in items(before) {
            if text(entry, "controllerName") != self.controller {
                result.push(entry.clone());
                continue;
            }
            let mine = wanted.iter_mut().find(|one| {
                one.is_some_and(|one| self.same_parent(entry.get(reference), one.get(reference)))
            });
            if let Some(mine) = mine.and_then(Option::take) {
                result.push(self.entry(ours, Some(entry), mine));
            }
        }
        result.extend(wanted.into_iter().flatten().map(|mine| self.entry(ours, None, mine)));
        result
    }

    fn entry(&self, ours: &[&str], before: Option<&Value>, wanted: &Value) -> Value {
        let mut result = before.and_then(Value::as_object).cloned().unwrap_or_default();
        for (field, value) in wanted.as_object().into_iter().flatten() {
            let value = if field == "conditions" {
                let before = before.and_then(|before| before.get("conditions"));
                self.conditions(ours, before, Some(value))
            } else if is_empty(Some(value))
                && result.get(field).is_some_and(|old| is_empty(Some(old)))
            {
                continue;
            } else {
                value.clone()
            };
            result.insert(field.clone(), value);
        }
        Value::Object(result)
    }

    /// Whether two references name the same thing, defaults filled in.
    fn same_parent(&self, left: Option<&Value>, right: Option<&Value>) -> bool {
        let (Some(left), Some(right)) = (left, right) else { return false };
        let defaults =
            [("group", GATEWAY_GROUP), ("kind", "Gateway"), ("namespace", self.namespace)];
        let same = |(field, default): (&str, &str)| {
            let of = |one: &Value| one.get(field).and_then(Value::as_str).map(str::to_owned);
            of(left).as_deref().unwrap_or(default) == of(right).as_deref().unwrap_or(default)
        };
        defaults.into_iter().all(same)
            && ["name", "sectionName", "port"]
                .iter()
                .all(|field| left.get(field) == right.get(field))
    }
}

/// The addresses of a Gateway. What one says of its routability stays while it is not known whether
/// the API has that field.
fn addresses(before: Option<&Value>, wanted: Option<&Value>) -> Value {
    let merged = items(wanted).iter().map(|wanted| {
        let mut merged = wanted.clone();
        let same = |one: &&Value| {
            ["type", "value"].into_iter().all(|field| text(one, field) == text(wanted, field))
        };
        let known = items(before).iter().find(same).and_then(|one| one.get("routability"));
        if let Some(known) = known.filter(|_| wanted.get("routability").is_none()) {
            merged["routability"] = known.clone();
        }
        merged
    });
    Value::Array(merged.collect())
}

/// Whether any entry of a shared list is of `controller`.
#[must_use]
pub fn has_entries(shape: &Shape, observed: &Value, controller: &str) -> bool {
    let Some(Entries::Shared { field, .. }) = &shape.entries else { return false };
    items(observed.get(field)).iter().any(|entry| text(entry, "controllerName") == controller)
}

/// A message that the API takes, cut between two characters.
fn cut(message: &str) -> String {
    let end = message.floor_char_boundary(MESSAGE_MAX - CUT.len());
    format!("{}{CUT}", &message[..end])
}

/// Whether `patch` tells nothing new of `observed` but how many routes are attached.
pub(super) fn only_counts(observed: Option<&Value>, patch: &Value) -> bool {
    let Some(patch) = patch.as_object().filter(|patch| patch.len() == 1) else { return false };
    let before = items(observed.and_then(|status| status.get("listeners")));
    let after = items(patch.get("listeners"));
    let uncounted = |listener: &Value| {
        let mut listener = listener.clone();
        listener.as_object_mut().map(|fields| fields.remove("attachedRoutes"));
        listener
    };
    !after.is_empty()
        && before.len() == after.len()
        && before.iter().zip(after).all(|(before, after)| uncounted(before) == uncounted(after))
}

fn items(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Absent, null and an empty list mean the same.
fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}
