//! libFuzzer at [`fuzz::h1::request`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::h1::request(input));
