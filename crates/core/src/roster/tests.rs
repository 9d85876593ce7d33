//! The rules of the module's page, against a roster that anybody can follow.

use core::time::Duration;
use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::{Roster, Slot};
use crate::Instant;

fn micros(us: u64) -> Duration {
    Duration::from_micros(us)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Seen(usize),
    Remove(usize),
    Tolerate(usize, u64),
    Pause(u64),
    /// Time passes, microseconds.
    Pass(u64),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1u64..5_000_000).prop_map(Step::Insert),
        (0usize..50).prop_map(Step::Seen),
        (0usize..50).prop_map(Step::Remove),
        ((0usize..50), 1u64..5_000_000).prop_map(|(n, us)| Step::Tolerate(n, us)),
        (0u64..3_000_000).prop_map(Step::Pause),
        (0u64..900_000).prop_map(Step::Pass),
        Just(Step::Sweep),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    #[test]
    fn rules_1_to_4(steps in steps(), wrap: bool) {
        // Just before the milliseconds wrap, or from the origin.
        let start = if wrap { micros(((1u64 << 32) - 2_000) * 1000) } else { Duration::ZERO };
        let (mut roster, mut now) = (Roster::new(), start);
        // Slot → last seen, tolerance.
        let mut watched: BTreeMap<Slot, (Duration, Duration)> = BTreeMap::new();
        let mut given: Vec<Slot> = Vec::new();
        // Tolerances and each pause are rounded up, stamps down.
        let mut rounding = micros(2_000);
        for step in steps {
            let clock = Instant::from_origin(now);
            let slot = |n: usize| (!given.is_empty()).then(|| given[n % given.len()]);
            match step {
                Step::Insert(us) => {
                    let slot = roster.insert(micros(us), clock);
                    prop_assert!(watched.insert(slot, (now, micros(us))).is_none() && !given.contains(&slot), "rule 4");
                    given.push(slot);
                }
                Step::Seen(n) => if let Some(slot) = slot(n) {
                    let entry = watched.get_mut(&slot);
                    prop_assert_eq!(roster.seen(slot, clock), entry.is_some());
                    if let Some(entry) = entry { entry.0 = now; }
                },
                Step::Remove(n) => if let Some(slot) = slot(n) {
                    prop_assert_eq!(roster.remove(slot), watched.remove(&slot).is_some());
                },
                Step::Tolerate(n, us) => if let Some(slot) = slot(n) {
                    let entry = watched.get_mut(&slot);
                    prop_assert_eq!(roster.tolerate(slot, micros(us)), entry.is_some());
                    if let Some(entry) = entry { entry.1 = micros(us); }
                },
                Step::Pause(us) => {
                    now += micros(us);
                    rounding += micros(1_000);
                    roster.handle_pause(Instant::from_origin(now), micros(us));
                    for entry in watched.values_mut() { entry.0 = (entry.0 + micros(us)).min(now); }
                }
                Step::Pass(us) => now += micros(us),
                Step::Sweep => {
                    let mut lost = Vec::new();
                    roster.sweep(clock, |slot, silent| lost.push((slot, silent)));
                    for (slot, silent) in lost {
                        let entry = watched.remove(&slot);
                        prop_assert!(entry.is_some(), "rule 3: {:?} came out twice", slot);
                        let (seen, tolerance) = entry.unwrap_or_default();
                        prop_assert!(now - seen >= tolerance, "rule 1: {:?} of {:?}", now - seen, tolerance);
                        prop_assert!(silent + rounding >= now - seen && silent <= now - seen + rounding);
                    }
                    for (seen, tolerance) in watched.values() {
                        prop_assert!(now - *seen <= *tolerance + rounding, "rule 2");
                    }
                    prop_assert_eq!(roster.len(), watched.len());
                }
            }
        }
    }
}

#[test]
fn an_entry_is_small() {
    let mut roster = Roster::new();
    for _ in 0..1000 {
        roster.insert(Duration::from_secs(10), Instant::default());
    }
    let bytes = (roster.seen.len() + roster.tolerance.len() + roster.generation.len()) * 4;
    assert!(bytes <= 16 * roster.len());
}

#[test]
fn a_sign_of_life_by_a_clock_ahead_of_ours_is_no_death() {
    let at = |ms| Instant::from_origin(Duration::from_millis(ms));
    let mut roster = Roster::new();
    let slot = roster.insert(Duration::from_secs(1), at(5_010));
    roster.sweep(at(5_000), |slot, _| panic!("{slot:?} is alive"));
    assert!(roster.seen(slot, at(5_020)));
}
