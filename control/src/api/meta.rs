//! What every object carries: its name, labels, annotations, creation time and generation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// `namespace/name` of an object; the namespace is empty for cluster-wide kinds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Namespace, or empty.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// The `metadata` of an object, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// Name.
    pub name: Arc<str>,
    /// Namespace; filled with `default` for namespaced kinds in files that name none.
    pub namespace: Arc<str>,
    /// Identity over the object's whole life; empty where files give none.
    pub uid: Arc<str>,
    /// Labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Annotations of our own; others, however long, are never kept.
    #[serde(deserialize_with = "ours")]
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    /// Seconds since the Unix epoch; 0 where none is given.
    #[serde(rename = "creationTimestamp", deserialize_with = "seconds")]
    pub created: i64,
    /// Generation that conditions observe.
    #[serde(default = "first_generation")]
    pub generation: i64,
}

impl Meta {
    /// The object's full name.
    #[must_use]
    pub fn full_name(&self) -> Name {
        Name { namespace: Arc::clone(&self.namespace), name: Arc::clone(&self.name) }
    }
}

impl Name {
    /// A name from its two parts.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn first_generation() -> i64 {
    1
}

/// The annotations that something here obeys.
fn ours<'de, D>(deserializer: D) -> Result<BTreeMap<Arc<str>, Arc<str>>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Ours;

    impl<'de> Visitor<'de> for Ours {
        type Value = BTreeMap<Arc<str>, Arc<str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of texts")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut kept = BTreeMap::new();
            while let Some(key) = map.next_key::<Arc<str>>()? {
                if key.starts_with(OWN_ANNOTATIONS) {
                    kept.insert(key, map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(kept)
        }
    }

    deserializer.deserialize_any(Ours)
}

/// How the annotations begin that something here obeys.
const OWN_ANNOTATIONS: &str = "ringway.dev/";

/// An RFC 3339 time; one that cannot be read counts as none, since only precedence uses it.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let time = text.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    Ok(time.map_or(0, jiff::Timestamp::as_second))
}
