//! v1 Namespace: only its labels matter, for `allowedRoutes` selectors.

use serde::Deserialize;

use super::Meta;

/// A Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    pub metadata: Meta,
}
