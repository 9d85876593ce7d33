#![no_main]
use deadpeer::{Rules, judge};
use deadpeer_os::linux::diag::parse_row;
use deadpeer_os::linux::netlink::Messages;
use deadpeer_os::linux::route::{parse_address, parse_link, parse_rule};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for message in Messages::new(bytes).flatten() {
        if let Ok(row) = parse_row(message.payload) {
            judge(&row.facts, &Rules::default());
        }
    }
    let _ = (parse_link(bytes), parse_address(bytes), parse_rule(bytes));
    if let Ok(row) = parse_row(bytes) {
        assert!(judge(&row.facts, &Rules::default()).evidence().next().is_some());
    }
});
