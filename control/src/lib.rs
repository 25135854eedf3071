//! control

pub mod api;
pub mod resolve;
pub mod store;
pub mod translate;
pub mod yaml;
