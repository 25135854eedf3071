//! libFuzzer at [`fuzz::h1::response`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::h1::response(input));
