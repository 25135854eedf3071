//! The HTTP/2 engine from outside: rules of the RFC, abuse, properties.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(clippy::disallowed_methods, reason = "tests need some instant to start from")]

mod abuse;
mod client;
mod heads;
mod kit;
mod properties;
mod rules;
