//! libFuzzer at [`fuzz::h2::client`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::h2::client(input));
