//! libFuzzer at [`fuzz::tls::client_hello`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::tls::client_hello(input));
