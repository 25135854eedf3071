//! v1 Secret. Its content never shows in `Debug`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Meta;

/// A Secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Secret {
    pub metadata: Meta,
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    pub data: BTreeMap<Arc<str>, Arc<str>>,
    pub string_data: BTreeMap<Arc<str>, Arc<str>>,
}

impl Secret {
    /// The bytes of a key; `stringData` goes before `data`, as in Kubernetes.
    ///
    /// # Errors
    /// The key is missing or not base64; the message holds nothing of the content.
    pub fn bytes(&self, key: &str) -> Result<Vec<u8>, String> {
        if let Some(text) = self.string_data.get(key) {
            return Ok(text.as_bytes().to_vec());
        }
        let Some(encoded) = self.data.get(key) else {
            return Err(format!("has no key {key}"));
        };
        let packed: String = encoded.split_ascii_whitespace().collect();
        STANDARD.decode(packed).map_err(|_| format!("key {key} is not base64"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.metadata.full_name())
    }
}
