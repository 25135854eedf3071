//! libFuzzer at [`fuzz::auth::answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::auth::answer(input));
