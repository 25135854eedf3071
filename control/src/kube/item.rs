//! One object as the API server sent it: decoded on its own, so that a bad one stops no other.
//!
//! Called by the feeds and by the on-disk snapshot. What nothing here reads (`managedFields`, foreign
//! annotations, most statuses) is skipped while decoding and never kept. Invariant: an object whose
//! name can be read always gives an item; what is wrong with the rest stands in it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::observed::Observed;
use super::references::{self, Target};
use crate::api::{Kind, Name, Object, Tree};

/// One object.
#[derive(Debug)]
pub(super) struct Item {
    pub name: Name,
    /// Decoded, or why not.
    pub object: Result<Object, String>,
    /// What its spec refers to by name.
    pub targets: Vec<Target>,
    pub resource_version: Box<str>,
    pub generation: i64,
    /// Kept for kinds with a status.
    pub observed: Option<Observed>,
    /// The part of its JSON that a snapshot on disk needs, if one is wanted.
    pub raw: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    metadata: Head<'a>,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    resource_version: Option<Cow<'a, str>>,
    #[serde(default)]
    generation: Option<i64>,
}

/// The name in an object's JSON.
pub(super) fn name(text: &str) -> Result<Name, serde_json::Error> {
    let Envelope { metadata: Head { name, namespace, .. }, .. } = serde_json::from_str(text)?;
    Ok(Name::new(namespace.as_deref().unwrap_or_default(), &name))
}

impl Item {
    /// Reads an object. `keeps_raw` asks for [`Item::raw`].
    ///
    /// # Errors
    /// It has no name by which anything could be said of it.
    pub(super) fn read(kind: Kind, text: &str, keeps_raw: bool) -> Result<Self, serde_json::Error> {
        let Envelope { metadata: head, spec, status } = serde_json::from_str(text)?;
        let object = kind.decode(&Json(text)).map_err(|error| match kind {
            // The error quotes what it found.
            Kind::Secret => "it does not have the shape of a Secret".to_owned(),
            _ => error.to_string(),
        });
        let name = match &object {
            Ok(object) => object.meta().full_name(),
            Err(_) => Name::new(head.namespace.as_deref().unwrap_or_default(), &head.name),
        };
        let resource_version: Box<str> = head.resource_version.unwrap_or_default().into();
        let generation = head.generation.unwrap_or_default();
        let observed = kind.has_status().then(|| Observed {
            uid: head.uid.unwrap_or_default().into(),
            resource_version: resource_version.clone(),
            generation,
            status: status.filter(|status| status.get() != "null").map(ToOwned::to_owned),
            fault: object.as_ref().err().map(|why| why.as_str().into()),
        });
        let targets = spec
            .filter(|_| kind.is_gateway_api())
            .map_or_else(Vec::new, |spec| references::scan(&name.namespace, spec.get()));
        let raw = if keeps_raw { Some(trimmed(kind, text)?) } else { None };
        Ok(Self { name, object, targets, resource_version, generation, observed, raw })
    }
}

/// JSON text of an object. A field that is `null` counts as absent, as it does in Kubernetes.
struct Json<'a>(&'a str);

impl Tree for Json<'_> {
    type Error = serde_json::Error;

    fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match serde_json::from_str(self.0) {
            Err(_) if self.0.contains("null") => {
                let mut value = serde_json::from_str(self.0)?;
                drop_nulls(&mut value);
                serde_json::from_value(value)
            }
            result => result,
        }
    }
}

fn drop_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The JSON without what changes with every write or is never read: `managedFields`, the version,
/// annotations of others, what a ConfigMap holds beside a trust bundle, and any status but a
/// Gateway's, whose addresses must survive a restart.
fn trimmed(kind: Kind, text: &str) -> Result<Box<str>, serde_json::Error> {
    let object: Fields<'_> = serde_json::from_str(text)?;
    let mut out = String::with_capacity(text.len() / 2);
    write_fields(&mut out, &object, |key, value, out| match key {
        "status" if kind != Kind::Gateway => Ok(false),
        "binaryData" if kind == Kind::ConfigMap => Ok(false),
        "data" if kind == Kind::ConfigMap && value.get() != "null" => {
            let mut all: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value.get())?;
            all.retain(|key, _| key == "ca.crt");
            out.push_str(&serde_json::to_string(&all)?);
            Ok(true)
        }
        "metadata" => {
            let meta: Fields<'_> = serde_json::from_str(value.get())?;
            write_fields(out, &meta, trim_meta)?;
            Ok(true)
        }
        _ => {
            out.push_str(value.get());
            Ok(true)
        }
    })?;
    // A line of the file holds one object.
    if out.contains('\n') {
        let value: serde_json::Value = serde_json::from_str(&out)?;
        out = serde_json::to_string(&value)?;
    }
    Ok(out.into())
}

type Fields<'a> = BTreeMap<&'a str, &'a RawValue>;

fn trim_meta(key: &str, value: &RawValue, out: &mut String) -> Result<bool, serde_json::Error> {
    match key {
        "managedFields" | "resourceVersion" | "ownerReferences" | "finalizers" => Ok(false),
        "annotations" if value.get() != "null" => {
            let mut all: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value.get())?;
            all.retain(|key, _| key.starts_with("ringway.dev/"));
            out.push_str(&serde_json::to_string(&all)?);
            Ok(true)
        }
        _ => {
            out.push_str(value.get());
            Ok(true)
        }
    }
}

/// Writes an object with the fields for which `write` wrote a value.
fn write_fields(
    out: &mut String,
    fields: &Fields<'_>,
    mut write: impl FnMut(&str, &RawValue, &mut String) -> Result<bool, serde_json::Error>,
) -> Result<(), serde_json::Error> {
    let mut separator = '{';
    for (key, value) in fields {
        let before = out.len();
        out.push(separator);
        out.push_str(&serde_json::to_string(key)?);
        out.push(':');
        if write(key, value, out)? {
            separator = ',';
        } else {
            out.truncate(before);
        }
    }
    out.push_str(if separator == '{' { "{}" } else { "}" });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = r#"{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute",
        "metadata":{"name":"r","namespace":"a","uid":"u","resourceVersion":"7","generation":3,
          "managedFields":[{"manager":"x"}],"annotations":{"other":"y","ringway.dev/a":"b"}},
        "spec":{"hostnames":null,"rules":[{"backendRefs":[{"name":"s","port":80}]}]},
        "status":{"parents":[]}}"#;

    #[test]
    fn null_counts_as_absent_and_the_status_is_kept_beside_the_object() {
        let item = Item::read(Kind::HttpRoute, ROUTE, false).unwrap();
        let Ok(Object::HttpRoute(route)) = &item.object else { panic!("{item:?}") };
        assert!(route.spec.hostnames.is_empty());
        assert_eq!(route.metadata.annotations.len(), 1, "only our own");
        let observed = item.observed.unwrap();
        assert_eq!(&*observed.resource_version, "7");
        assert_eq!(observed.status.unwrap().get(), r#"{"parents":[]}"#);
        assert_eq!(item.targets, [(Kind::Service, Name::new("a", "s"))]);
    }

    #[test]
    fn an_object_of_the_wrong_shape_still_has_its_name_and_version() {
        let bad = ROUTE.replace(r#""port":80"#, r#""port":"eighty""#);
        let item = Item::read(Kind::HttpRoute, &bad, false).unwrap();
        assert!(item.object.unwrap_err().contains("eighty"));
        assert_eq!(item.name, Name::new("a", "r"));
        assert!(item.observed.unwrap().fault.is_some());
    }

    #[test]
    fn nothing_of_a_secret_stands_in_its_fault() {
        let bad = r#"{"metadata":{"name":"s","namespace":"a"},"data":"hunter2"}"#;
        let item = Item::read(Kind::Secret, bad, false).unwrap();
        assert!(!format!("{item:?}").contains("hunter2"));
        assert!(item.object.is_err());
    }

    #[test]
    fn what_a_snapshot_keeps_decodes_to_the_same_object() {
        let item = Item::read(Kind::HttpRoute, ROUTE, true).unwrap();
        let raw = item.raw.unwrap();
        assert!(
            !raw.contains("managedFields") && !raw.contains("other") && !raw.contains("parents")
        );
        let again = Item::read(Kind::HttpRoute, &raw, false).unwrap();
        let (Ok(Object::HttpRoute(left)), Ok(Object::HttpRoute(right))) =
            (item.object, again.object)
        else {
            panic!("both decode")
        };
        assert_eq!(left, right);
    }

    #[test]
    fn of_a_config_map_only_a_trust_bundle_is_kept() {
        let text = r#"{"metadata":{"name":"m","namespace":"a"},
            "data":{"ca.crt":"PEM","password":"hunter2"},"binaryData":{"x":"aHVudGVyMg=="}}"#;
        let item = Item::read(Kind::ConfigMap, text, true).unwrap();
        assert!(!format!("{item:?}").contains("hunter2"));
        let raw = item.raw.unwrap();
        assert!(!raw.contains("hunter2") && !raw.contains("aHVu"), "{raw}");
        let again = Item::read(Kind::ConfigMap, &raw, false).unwrap();
        assert_eq!(format!("{:?}", again.object), format!("{:?}", item.object));
    }

    #[test]
    fn an_object_without_a_name_is_an_error() {
        assert!(Item::read(Kind::Service, r#"{"metadata":{}}"#, false).is_err());
        assert!(name("[]").is_err());
    }
}
