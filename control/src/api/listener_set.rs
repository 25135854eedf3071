//! ListenerSet: more listeners for a Gateway, kept by others than its owner.

use std::sync::Arc;

use serde::Deserialize;

use super::{GATEWAY_GROUP, Listener, Meta};

/// A ListenerSet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListenerSet {
    pub metadata: Meta,
    pub spec: ListenerSetSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListenerSetSpec {
    pub parent_ref: ParentGateway,
    pub listeners: Vec<Listener>,
}

/// The Gateway that the listeners are added to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ParentGateway {
    pub group: Arc<str>,
    pub kind: Arc<str>,
    pub name: Arc<str>,
    pub namespace: Option<Arc<str>>,
}

impl Default for ParentGateway {
    fn default() -> Self {
        Self {
            group: GATEWAY_GROUP.into(),
            kind: "Gateway".into(),
            name: "".into(),
            namespace: None,
        }
    }
}
