#![no_main]
//! Two ends of a carried connection, with events of any kind at any moment: see the rules in `deadpeer_core::carried`.
use deadpeer_core::carried::{Carried, End, Todo};
use deadpeer_core::session::Reason;
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/core/src/carried/world.rs"]
mod world;
use world::{Step, World};

// Two bytes a step: which, and how much.
fuzz_target!(|bytes: &[u8]| {
    let mut world = World::new();
    for step in bytes.chunks_exact(2) {
        let (side, much) = (usize::from(step[0] & 1), usize::from(step[1] % 40) + 1);
        world.step(&match step[0] >> 1 {
            0..=30 => Step::Send { side, bytes: much },
            31..=36 => Step::Close { side },
            37..=65 => Step::Read { side, most: much },
            66..=90 => Step::Take { side, most: much },
            91..=115 => Step::Carry { from: side },
            116..=119 => Step::Dialed,
            120..=123 => Step::PlainLost { side },
            124 | 125 => Step::SessionLost,
            _ => Step::Deadline { side },
        });
    }
    world.conclude();
});
