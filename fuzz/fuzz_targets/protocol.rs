#![no_main]
//! One side of a session with any bytes: whole and byte by byte the same events and the same end, and it always comes
//! to rest.
use core::time::Duration;

use deadpeer_core::Instant;
use deadpeer_core::session::{Frame, Hello, Incoming, Offer, Role, Single, Terms};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let second = Duration::from_secs(1);
    let offer = Offer::new(second, second, second * 10_000);
    let run = |piece: usize, greet: bool| {
        let now = Instant::default();
        let mut side = Single::new(Role::Acceptor, Terms::new(offer), "fuzz", b"", 1, now);
        if greet {
            let mut hello = Vec::new();
            Frame::Hello(Hello { window: 100_000, ..Hello::new(offer) }).encode(&mut hello);
            side.input(&hello, now).unwrap();
            assert!(matches!(side.next(), Some(Incoming::Greeted(_))));
            side.admit(now);
            let _ = side.send(b"an answer");
        }
        let mut told = Vec::new();
        for piece in bytes.chunks(piece) {
            side.bytes_arrived(now);
            let input = side.input(piece, now);
            while let Some(event) = side.next() {
                // Of several DRAINs only the last one is kept.
                if !matches!(event, Incoming::Drain(_)) {
                    told.push(format!("{event:?}"));
                }
                if matches!(event, Incoming::Greeted(_) | Incoming::Bye(_)) {
                    // What follows depends on when this side admits the peer, and when it answers.
                    return told;
                }
            }
            let mut written = 0;
            while !side.output(now).is_empty() {
                let length = side.output(now).len();
                written += length;
                side.wrote(length, now);
                assert!(written < 1 << 20, "it never comes to rest");
            }
            if let Err(failure) = input {
                told.push(failure.to_string());
                return told;
            }
        }
        told
    };
    for greet in [false, true] {
        assert_eq!(run(bytes.len().max(1), greet), run(1, greet));
    }
});
