//! libFuzzer at [`fuzz::proxy_protocol::header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::proxy_protocol::header(input));
