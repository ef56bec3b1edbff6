#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| phantom_token_engine::fuzz::store_value(input));
