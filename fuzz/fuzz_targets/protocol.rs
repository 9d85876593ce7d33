#![no_main]
use core::time::Duration;

use deadpeer_core::protocol::{Config, Offer, Protocol};
use deadpeer_core::Instant;
use libfuzzer_sys::fuzz_target;

// Whole and byte by byte: the same events, and the same end.
fuzz_target!(|bytes: &[u8]| {
    let second = Duration::from_secs(1);
    let offer = Offer::new(second, second, 3).at_most(second * 10_000);
    let run = |piece: usize| {
        let now = Instant::default();
        let mut side = Protocol::open(Config::new(offer), "fuzz", 1, now, &mut Vec::new());
        let (mut told, mut start, mut end) = (Vec::new(), 0, 0);
        while end < bytes.len() {
            end = (end + piece).min(bytes.len());
            loop {
                match side.handle_input(&bytes[start..end], now) {
                    Ok((0, _)) => break,
                    Ok((taken, event)) => {
                        start += taken;
                        told.push(format!("{event:?}"));
                    }
                    Err(error) => {
                        told.push(error.to_string());
                        return told;
                    }
                }
            }
        }
        told
    };
    assert_eq!(run(bytes.len().max(1)), run(1));
});
