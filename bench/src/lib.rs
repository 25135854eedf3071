//! Measures gateways: an open-loop load generator, a backend for it, and comparisons.
//!
//! Never part of a gateway. The binary `bench` calls [`main`]. Invariant: everything that a command
//! starts has ended when the command ends.

mod backend;
mod http;
mod load;
