//! control

pub mod api;
pub mod check;
pub mod files;
pub mod resolve;
pub mod store;
pub mod translate;
pub mod yaml;
