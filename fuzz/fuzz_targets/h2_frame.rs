//! libFuzzer at [`fuzz::h2::frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::h2::frames(input));
