//! The rules of the module's page, by their numbers.

use core::time::Duration;
use std::vec::Vec;

use proptest::prelude::*;

use super::{Beat, Heartbeat, Timing, TimingError};
use crate::{Instant, Policy};

fn at(ms: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(ms))
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn it_is_small() {
    assert!(size_of::<Heartbeat>() <= 128, "{} bytes", size_of::<Heartbeat>());
}

#[test]
fn rule_5_a_ping_that_cannot_be_written_is_not_repeated() {
    let mut heartbeat = Heartbeat::new(Timing::new(millis(100), millis(10_000)).unwrap(), 1, at(0));
    assert_eq!(heartbeat.poll(at(100)), Some(Beat::Ping { token: 1 }));
    for ms in 100..9_000 {
        assert_eq!(heartbeat.poll(at(ms)), None);
    }
    heartbeat.handle_sent(at(9_000));
    assert_eq!(heartbeat.poll(at(9_100)), Some(Beat::Ping { token: 2 }));
}

#[test]
fn rule_7_a_pause_of_our_own_is_not_the_peers_silence() {
    let timing = Timing::new(millis(1_000), millis(3_000)).unwrap();
    let mut heartbeat = Heartbeat::new(timing, 1, at(0));
    heartbeat.handle_sent(at(2_000));
    // The machine slept for an hour.
    let hour = Duration::from_secs(3600);
    let woken = at(2_000).after(hour);
    heartbeat.handle_pause(woken, hour);
    assert_eq!(heartbeat.poll(woken), Some(Beat::Ping { token: 1 }), "the peer waits for it");
    heartbeat.handle_sent(woken);
    assert_eq!(heartbeat.poll(woken.after(millis(1_000))), Some(Beat::Lost { silent: millis(3_000) }));
}

#[test]
fn an_old_echo_tells_no_time() {
    let timing = Timing::new(millis(100), millis(10_000)).unwrap();
    let mut heartbeat = Heartbeat::new(timing, 1, at(0));
    let mut ping = |now| match heartbeat.poll(now) {
        Some(Beat::Ping { token }) => {
            heartbeat.handle_sent(now);
            (token, heartbeat.clone())
        }
        other => panic!("{other:?}"),
    };
    let (old, _) = ping(at(100));
    let (new, mut heartbeat) = ping(at(200));
    assert_eq!(heartbeat.handle_echo(old, at(210)), None);
    assert_eq!(heartbeat.handle_echo(new, at(210)), Some(millis(10)));
}

#[test]
fn a_policy_becomes_a_timing_or_an_error_with_both_numbers() {
    let policy = |detect, survive| Policy::detect(millis(detect)).survive(millis(survive)).build().unwrap();
    let timing = Timing::keeping(&policy(6_000, 2_500)).unwrap();
    assert_eq!((timing.interval(), timing.tolerance()), (millis(500), millis(6_000)));
    let error = Timing::keeping(&policy(6_000, 2_800)).unwrap_err();
    assert_eq!(
        std::string::ToString::to_string(&error),
        "a heartbeat can't notice a death within 6 s: surviving the outage takes 6.1 s at least"
    );
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Heard,
    Sent,
    /// The ping that was asked for is written.
    Nothing,
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![Just(Event::Heard), Just(Event::Sent), Just(Event::Nothing)];
    prop::collection::vec((0u64..2_000, event), 1..200)
}

proptest! {
    #[test]
    fn rules_1_to_6(interval in 10u64..3_000, tolerance in 10u64..10_000, seed: u64, events in events()) {
        let timing = Timing::new(millis(interval), millis(tolerance)).unwrap();
        let mut heartbeat = Heartbeat::new(timing, seed, at(0));
        let (mut now, mut heard, mut sent) = (0, 0, 0);
        let (mut lost, mut pinging) = (false, false);
        for (step, event) in events {
            // Everything that falls due on the way is polled at its very moment.
            let arrives = now + step;
            loop {
                let deadline = heartbeat.deadline();
                if deadline > at(arrives) {
                    prop_assert_eq!(heartbeat.poll(at(arrives)), None, "rule 6: nothing before the deadline");
                    break;
                }
                match heartbeat.poll(deadline) {
                    Some(Beat::Lost { silent }) => {
                        prop_assert!(!lost, "rule 2: once");
                        prop_assert_eq!(silent, millis(tolerance), "rules 1 and 2");
                        prop_assert_eq!(deadline, at(heard + tolerance), "rules 1 and 2");
                        lost = true;
                    }
                    Some(Beat::Ping { .. }) => {
                        prop_assert!(!pinging && !lost, "rule 5");
                        let since = deadline.since(at(sent));
                        prop_assert!(since <= millis(interval), "rule 3");
                        prop_assert!(since >= millis(interval) * 7 / 10, "rules 3 and 4");
                        pinging = true;
                    }
                    None => prop_assert!(false, "rule 6: something at the deadline"),
                }
            }
            now = arrives;
            match event {
                Event::Heard => {
                    heartbeat.handle_heard(at(now));
                    heard = now;
                }
                Event::Sent => {
                    heartbeat.handle_sent(at(now));
                    (sent, pinging) = (now, false);
                }
                Event::Nothing => {}
            }
            if lost {
                prop_assert_eq!(heartbeat.poll(at(now + 100_000)), None, "rule 2: nothing after it");
                break;
            }
        }
    }
}

type Step = (&'static str, fn(&mut Heartbeat));

/// The drawing of the module's page, as a table: what each state makes of each event.
#[test]
fn transitions() {
    let timing = Timing::new(millis(1_000), millis(3_000)).unwrap();
    let states: [Step; 3] = [
        ("Quiet", |_| {}),
        ("Pinging", |heartbeat| assert!(matches!(heartbeat.poll(at(1_000)), Some(Beat::Ping { .. })))),
        ("Lost", |heartbeat| assert!(matches!(heartbeat.poll(at(3_000)), Some(Beat::Lost { .. })))),
    ];
    let events: [Step; 3] = [
        ("heard", |heartbeat| heartbeat.handle_heard(at(2_900))),
        ("sent", |heartbeat| heartbeat.handle_sent(at(2_900))),
        ("nothing", |_| {}),
    ];
    let mut table = std::string::String::new();
    for (state, enter) in states {
        for (event, happens) in events {
            let mut heartbeat = Heartbeat::new(timing, 1, at(0));
            enter(&mut heartbeat);
            happens(&mut heartbeat);
            let told = match heartbeat.poll(at(3_000)) {
                None => "-",
                Some(Beat::Ping { .. }) => "ping",
                Some(Beat::Lost { .. }) => "lost",
            };
            table += &std::format!("{state:8}{event:8}{told:5}{:?}\n", heartbeat.state);
        }
    }
    let expected = "\
Quiet   heard   ping Pinging
Quiet   sent    lost Lost
Quiet   nothing lost Lost
Pinging heard   -    Pinging
Pinging sent    lost Lost
Pinging nothing lost Lost
Lost    heard   -    Lost
Lost    sent    -    Lost
Lost    nothing -    Lost
";
    assert_eq!(table, expected);
}

#[test]
fn beats_keep_a_mapping_alive_and_stay_within_a_budget() {
    let policy = |mapping, budget| {
        let policy = Policy::detect(Duration::from_secs(300)).survive(Duration::from_secs(10));
        policy.mapping_timeout(Duration::from_secs(mapping)).bytes_per_day(budget).build().unwrap()
    };
    let timing = Timing::keeping(&policy(60, 10_000_000)).unwrap();
    assert_eq!(timing.interval(), Duration::from_millis(59_500));
    let cost = timing.bytes_per_day();
    assert!((600_000..900_000).contains(&cost), "{cost}");
    let error = Timing::keeping(&policy(60, cost - 1)).unwrap_err();
    assert_eq!(error, TimingError::TooCostly { budget: cost - 1, least: cost });
}
