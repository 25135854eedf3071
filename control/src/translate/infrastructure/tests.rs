//! Names of Gateways' objects.

use super::*;

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty()
        && text.len() <= LABEL_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(inner)
}

#[test]
fn names_are_labels_however_the_gateway_is_called() {
    let longest = "a".repeat(253);
    let dotted = format!("{}.{}", "x".repeat(50), "y".repeat(100));
    let edge = format!("{}-{}", "b".repeat(38), "c".repeat(60));
    let mut seen = BTreeSet::new();
    for name in ["web", "1-web", "a.b", "a-b", "a.b-c", &longest, &dotted, &edge] {
        let found = service_name(&Name::new("ns", name));
        assert!(is_label(&found.name), "{found}");
        assert!(is_label(&format!("{}-ipv6", found.name)), "{found}");
        assert_eq!(&*found.namespace, "ns");
        assert!(seen.insert(found.name.to_string()), "{found} twice");
    }
    assert_eq!(&*service_name(&Name::new("ns", "web")).name, "ringway-web");
}

#[test]
fn long_names_that_begin_alike_have_different_labels() {
    let one = format!("{}one", "a".repeat(200));
    let two = format!("{}two", "a".repeat(200));
    assert_ne!(label_value(&one), label_value(&two));
    assert_ne!(service_name(&Name::new("n", &one)), service_name(&Name::new("n", &two)));
    assert_eq!(label_value(&one).len(), LABEL_MAX);
    assert_eq!(label_value("short.name"), "short.name");
}

#[test]
fn names_never_change_from_release_to_release() {
    assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
}

#[test]
fn an_object_is_ours_only_with_both_labels() {
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
    };
    let gateway = Name::new("ns", "web");
    let both = [(MANAGED_BY_LABEL, MANAGED_BY), (GATEWAY_LABEL, "web")];
    assert!(is_ours(&labels(&both), &gateway));
    assert!(!is_ours(&labels(&both), &Name::new("ns", "other")));
    assert!(!is_ours(&labels(&both[..1]), &gateway));
    assert!(!is_ours(&labels(&both[1..]), &gateway));
}
