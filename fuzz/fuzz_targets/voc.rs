#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spikelet_fuzz::parsers::voc(data));
