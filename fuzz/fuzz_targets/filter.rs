#![no_main]
use deadpeer::host::Filter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = text.parse::<Filter>() {
        assert!(!error.to_string().is_empty());
    }
});
