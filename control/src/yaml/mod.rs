//! YAML (and JSON) text as a tree in which every value and every key knows its line and column.
//!
//! Not a general YAML library: it keeps what Kubernetes objects need and refuses what they never
//! use (non-scalar keys, endless aliases). Called by [`crate::files`] and [`crate::check`].
//! Invariant: positions are those of the text, 1-based, so that a mistake can be pointed at.

mod de;
mod node;
mod parse;

pub use de::DecodeError;
pub(crate) use node::quote;
pub use node::{Key, Node, Position, Value};
pub use parse::{SyntaxError, parse};
