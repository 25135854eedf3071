//! `RequestHeaderModifier` and `ResponseHeaderModifier`.
//!
//! Modifiers apply one after another; within one, `set` replaces, `add` appends, `remove` drops.
//! Nothing is collected: the caller asks of each received field whether it stays, then takes the new
//! ones. Framing and hop-by-hop fields belong to the gateway and are out of reach of a modifier.

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
            let later = rest.clone().any(|later| replaces(later, name.as_bytes()));
            if !later && !is_reserved(name.as_bytes()) && is_field(name, value) {
                emit(name.as_bytes(), value.as_bytes());
            }
        }
    }
}

/// Whether it can be written as one field line. A configuration may come from somebody who may edit a
/// route but not other people's messages, so a line end in a value must go nowhere.
fn is_field(name: &str, value: &str) -> bool {
    field::is_token(name) && field::is_value(value)
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
    fn framing_fields_are_out_of_reach() {
        let modifiers = [modifier(&[("content-length", "5")], &[("connection", "x")], &[])];
        assert_eq!(run(&modifiers, &[]), Vec::<String>::new());
    }
}
