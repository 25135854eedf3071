//! Writes what became of our objects into the API server.

pub mod merge;
pub mod shape;
