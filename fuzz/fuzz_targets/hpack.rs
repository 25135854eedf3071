//! libFuzzer at [`fuzz::hpack::blocks`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::hpack::blocks(input));
