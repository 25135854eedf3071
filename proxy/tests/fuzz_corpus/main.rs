//! The fuzz targets as ordinary tests: their corpus, mutants of it, and the corpora in words.
//!
//! The targets are `fuzz/src`, where libFuzzer finds them too. [`replay`] runs the files of
//! `fuzz/corpus`; [`seeds`] makes the binary ones; [`h2_text`] and [`hpack_text`] say what is to come of
//! inputs, which a target does not know.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../fuzz/src/lib.rs"]
pub mod fuzz;

mod h2_text;
mod hpack_text;
mod mutate;
mod replay;
mod seeds;
