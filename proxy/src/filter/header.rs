//! `RequestHeaderModifier` and `ResponseHeaderModifier`.
//!
//! Modifiers apply one after another; within one, `set` replaces, `add` appends, `remove` drops.
//! Nothing is collected: the caller asks of each received field whether it stays, then takes the new
//! ones. Framing and hop-by-hop fields belong to the gateway and are out of reach of a modifier:
//! [`writable`] leaves out what may not be written, once per epoch.

use std::sync::Arc;

use crate::http::field;
use crate::ir::HeaderModifier;

/// Whether a received field survives all modifiers.
#[must_use]
pub fn keeps<'e>(mut modifiers: impl Iterator<Item = &'e HeaderModifier>, name: &[u8]) -> bool {
    !modifiers.any(|modifier| replaces(modifier, name))
}

/// Hands every field that the modifiers bring in to `emit`, in order.
pub fn additions<'e>(
    modifiers: impl Iterator<Item = &'e HeaderModifier> + Clone,
    mut emit: impl FnMut(&'e [u8], &'e [u8]),
) {
    let mut rest = modifiers;
    while let Some(modifier) = rest.next() {
        for (name, value) in modifier.set.iter().chain(&modifier.add) {
            if !rest.clone().any(|later| replaces(later, name.as_bytes())) {
                emit(name.as_bytes(), value.as_bytes());
            }
        }
    }
}

/// `modifier` without what may not be written. A name that it would have set goes all the same.
#[must_use]
pub fn writable(modifier: &HeaderModifier) -> HeaderModifier {
    let HeaderModifier { set, add, remove } = modifier;
    let (set, refused): (Vec<_>, Vec<_>) = set.iter().cloned().partition(may_write);
    let add = add.iter().filter(|pair| may_write(pair)).cloned().collect();
    let refused = refused.into_iter().map(|(name, _)| name);
    HeaderModifier { set, add, remove: remove.iter().cloned().chain(refused).collect() }
}

/// Whether it can be written as one field line, and by a route. A configuration may come from somebody
/// who may edit a route but not other people's messages, so a line end in a value must go nowhere.
fn may_write((name, value): &(Arc<str>, Arc<str>)) -> bool {
    !is_reserved(name.as_bytes()) && field::is_token(name) && field::is_value(value)
}

/// Whether only the gateway itself may write this field.
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    RESERVED.contains(&name)
}

fn replaces(modifier: &HeaderModifier, name: &[u8]) -> bool {
    modifier.set.iter().any(|(set, _)| set.as_bytes() == name)
        || modifier.remove.iter().any(|removed| removed.as_bytes() == name)
}

const RESERVED: [&[u8]; 9] = [
    b"connection",
    b"content-length",
    b"host",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn modifier(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderModifier {
        let pairs = |list: &[(&str, &str)]| {
            list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        HeaderModifier {
            set: pairs(set),
            add: pairs(add),
            remove: remove.iter().map(|name| (*name).into()).collect(),
        }
    }

    fn run(modifiers: &[HeaderModifier], fields: &[(&str, &str)]) -> Vec<String> {
        let modifiers: Vec<_> = modifiers.iter().map(writable).collect();
        let mut out = Vec::new();
        for (name, value) in fields {
            if keeps(modifiers.iter(), name.as_bytes()) {
                out.push(format!("{name}: {value}"));
            }
        }
        additions(modifiers.iter(), |name, value| {
            out.push(format!("{}: {}", name.escape_ascii(), value.escape_ascii()));
        });
        out
    }

    #[test]
    fn set_replaces_every_line_and_add_appends() {
        let modifiers = [modifier(&[("a", "new")], &[("b", "2")], &[])];
        let out = run(&modifiers, &[("a", "1"), ("a", "2"), ("b", "1")]);
        assert_eq!(out, ["b: 1", "a: new", "b: 2"]);
    }

    #[test]
    fn a_later_modifier_sees_what_an_earlier_one_brought_in() {
        let modifiers = [
            modifier(&[("a", "rule")], &[("b", "rule")], &[]),
            modifier(&[("a", "backend")], &[], &["b"]),
        ];
        assert_eq!(run(&modifiers, &[("a", "client")]), ["a: backend"]);
    }

    #[test]
    fn nothing_can_be_smuggled_into_a_field() {
        let modifiers = [modifier(
            &[("a", "1\r\nb: 2"), ("c\r\nd", "1"), ("e f", "1"), ("", "1")],
            &[("g", "nul\0"), ("h", "tab\tand \u{e9} stay")],
            &[],
        )];
        assert_eq!(run(&modifiers, &[]), ["h: tab\\tand \\xc3\\xa9 stay"]);
    }

    #[test]
    fn what_cannot_be_written_still_replaces() {
        assert_eq!(
            run(&[modifier(&[("a", "1\n")], &[], &[])], &[("a", "1"), ("b", "2")]),
            ["b: 2"]
        );
    }

    #[test]
    fn framing_fields_are_out_of_reach() {
        let modifiers = [modifier(&[("content-length", "5")], &[("connection", "x")], &[])];
        assert_eq!(run(&modifiers, &[]), Vec::<String>::new());
    }
}
