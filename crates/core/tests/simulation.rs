//! Two ends of a session over a simulated TCP connection, for thousands of hours.
//!
//! The link is what TCP makes of a bad network: in order, never losing anything for good, and sometimes late.
//! A segment that is lost comes again after pauses that double; everything behind it waits. In an outage
//! nothing gets through.
//!
//! What is proven: no session ends while outages are no longer than its policy tolerates; and when a side
//! dies, the other knows within the time that the policy promises.
//!
//! `DEADPEER_SIMULATED_HOURS` makes it longer, `DEADPEER_SEED` makes it another one.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test panics where anything is amiss

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use deadpeer_core::session::{Failure, Incoming, Offer, Role, Single, Terms};
use deadpeer_core::{Instant, Policy};

const SECOND: u64 = 1_000_000;
/// The retransmission timeout and the longest way of the simulated link, microseconds. Together they are
/// what `Timing::RETRANSMISSION` allows for.
const RTO: u64 = 300_000;
const LONGEST_WAY: u64 = 150_000;

/// xorshift64*: the test's own chance, apart from the jitter's.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % most.max(1)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }
}

/// One direction.
#[derive(Default)]
struct Link {
    /// Nothing overtakes.
    last: u64,
}

impl Link {
    /// When what is sent now arrives.
    fn arrives(&mut self, now: u64, outages: &[(u64, u64)], chance: &mut Chance) -> u64 {
        let way = chance.between(1_000, LONGEST_WAY);
        // One in fifty is lost; at most once, and outages besides.
        let mut lost = chance.below(50) == 0;
        let (mut attempt, mut pause) = (now, RTO);
        loop {
            let cut = outages.iter().any(|&(from, to)| (from..to).contains(&attempt));
            if !cut && !lost {
                break;
            }
            lost = false;
            attempt += pause;
            pause *= 2;
        }
        self.last = self.last.max(attempt + way);
        self.last
    }
}

fn at(us: u64) -> Instant {
    Instant::from_origin(Duration::from_micros(us))
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Arrives { to: usize, from_byte: usize, bytes: usize },
    Due { side: usize },
    Says { side: usize },
    Dies { side: usize },
}

struct Session {
    sides: [Single; 2],
    /// All that each side ever wrote; `Arrives` means a range of it.
    written: [Vec<u8>; 2],
    links: [Link; 2],
    dead: [bool; 2],
    lost: [Option<u64>; 2],
    due: [u64; 2],
    agenda: BinaryHeap<Reverse<(u64, Happens)>>,
    now: u64,
    /// Messages that each side has sent and received, and whether its program takes any at present.
    sent: [u32; 2],
    received: [u32; 2],
}

impl Session {
    fn put(&mut self, when: u64, what: Happens) {
        self.agenda.push(Reverse((when, what)));
    }

    /// Sends what a side has to say.
    fn transmit(&mut self, side: usize, now: u64, outages: &[(u64, u64)], chance: &mut Chance) {
        let start = self.written[side].len();
        loop {
            let output = self.sides[side].output(at(now));
            if output.is_empty() {
                break;
            }
            self.written[side].extend_from_slice(output);
            let length = output.len();
            self.sides[side].wrote(length, at(now));
        }
        let bytes = self.written[side].len() - start;
        if bytes > 0 && !self.dead[side] {
            let arrives = self.links[side].arrives(now, outages, chance);
            self.put(arrives, Happens::Arrives { to: 1 - side, from_byte: start, bytes });
        }
    }

    fn schedule(&mut self, side: usize) {
        let now = at(self.now);
        let due = self.sides[side].deadline(now);
        if due != Instant::NEVER {
            let micros = due.since(Instant::default()).as_nanos().div_ceil(1000);
            let micros = u64::try_from(micros).unwrap();
            // One alarm a side: an older one that rings is not the alarm any more.
            if self.due[side] != micros {
                self.due[side] = micros;
                self.put(micros, Happens::Due { side });
            }
        }
    }
}

/// One session of `hours`, with outages, which ends with the death of one side.
fn live(chance: &mut Chance, hours: u64) {
    let detect = chance.between(4 * SECOND, 90 * SECOND);
    let survive = chance.between(0, (detect - SECOND) / 2 - SECOND / 2);
    let policy = Policy::detect(Duration::from_micros(detect)).survive(Duration::from_micros(survive));
    let policy = policy.build().unwrap();
    let Ok(offer) = Offer::keeping(&policy) else { return };
    let terms = Terms::new(offer);

    let death = chance.between(1, hours * 3600) * SECOND;
    let end = death + 2 * detect;
    // Outages as long as may be, anywhere, with time to recover in between.
    let mut outages = Vec::new();
    let mut next = chance.between(SECOND, 20 * detect);
    while next < end {
        let length = chance.between(survive / 2, survive);
        outages.push((next, next + length));
        next += length + chance.between(3 * detect, 200 * detect);
    }

    let written = [Vec::new(), Vec::new()];
    let sides = [Role::Connector, Role::Acceptor]
        .map(|role| Single::new(role, terms, "", b"", chance.below(u64::MAX), at(0)));
    let mut session = Session {
        sides,
        written,
        links: Default::default(),
        dead: [false; 2],
        lost: [None; 2],
        due: [0; 2],
        agenda: BinaryHeap::new(),
        now: 0,
        sent: [0; 2],
        received: [0; 2],
    };
    let dies = chance.below(2) as usize;
    session.put(death, Happens::Dies { side: dies });
    let near = |outages: &[(u64, u64)], now: u64| {
        // Those that an attempt from now on can meet.
        let first = outages.partition_point(|&(_, to)| to < now);
        outages[first..].iter().take_while(|&&(from, _)| from < now + 100 * SECOND).count() + first
    };
    let mut first = 0;
    for side in [0, 1] {
        session.transmit(side, 0, &outages[..near(&outages, 0)], chance);
        session.schedule(side);
        session.put(chance.between(SECOND, 600 * SECOND), Happens::Says { side });
    }
    while let Some(Reverse((now, what))) = session.agenda.pop() {
        if now > end {
            break;
        }
        while outages.get(first).is_some_and(|&(_, to)| to < now) {
            first += 1;
        }
        let ahead = &outages[first..near(&outages, now).max(first)];
        let side = match what {
            Happens::Dies { side } => {
                session.dead[side] = true;
                continue;
            }
            Happens::Arrives { to: side, .. } | Happens::Due { side } | Happens::Says { side } => side,
        };
        if matches!(what, Happens::Due { side } if session.due[side] != now) {
            continue;
        }
        session.now = now;
        if session.dead[side] || session.lost[side].is_some() {
            continue;
        }
        match what {
            Happens::Arrives { from_byte, bytes, .. } => {
                let input = session.written[1 - side][from_byte..from_byte + bytes].to_vec();
                session.sides[side].bytes_arrived(at(now));
                session.sides[side].input(&input, at(now)).unwrap();
                // A slow program takes a message now and then, and one takes nothing for long.
                let takes = chance.below(4);
                for _ in 0..takes {
                    match session.sides[side].next() {
                        Some(Incoming::Greeted(_)) => session.sides[side].admit(at(now)),
                        Some(Incoming::Message(message)) => {
                            let number = u32::from_be_bytes(message[..4].try_into().unwrap());
                            assert_eq!(number, session.received[side], "in order, none missing");
                            session.received[side] += 1;
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
                if session.sides[side].session().is_greeting() && takes == 0 {
                    session.put(now + 1, Happens::Arrives { to: side, from_byte, bytes: 0 });
                }
            }
            Happens::Says { side } => {
                let mut message = session.sent[side].to_be_bytes().to_vec();
                message.resize(4 + chance.below(3_000) as usize, 7);
                if session.sides[side].queued() < 100_000 && session.sides[side].send(&message).is_ok() {
                    session.sent[side] += 1;
                }
                let next = now + chance.between(SECOND / 10, 600 * SECOND);
                session.put(next, Happens::Says { side });
            }
            Happens::Due { .. } | Happens::Dies { .. } => {}
        }
        if let Err(failure) = session.sides[side].poll(at(now)) {
            assert!(matches!(failure, Failure::Silent { .. }), "{failure}");
            session.lost[side] = Some(now);
            assert!(
                session.dead[1 - side],
                "a false death after {now} µs: detect {detect}, survive {survive}"
            );
        }
        session.transmit(side, now, ahead, chance);
        session.schedule(side);
    }
    let noticed = session.lost[1 - dies].expect("the death was never noticed");
    // What was on its way when it died still arrived; an outage may have held that back.
    let longest = detect + 2_000 + LONGEST_WAY + 2 * survive + 2 * RTO;
    let held_back = session.links[dies].last.saturating_sub(death);
    // Stamps are whole milliseconds.
    let detect = detect + 2_000;
    assert!(noticed <= death + held_back + detect, "{} µs after the death", noticed - death);
    assert!(noticed <= death + longest, "{} µs after the death of a promised {detect}", noticed - death);
}

#[test]
fn no_false_death_and_none_too_late() {
    let from_env = |name: &str, or: u64| std::env::var(name).map_or(or, |value| value.parse().unwrap());
    let hours = from_env("DEADPEER_SIMULATED_HOURS", 10_000);
    let seed = from_env("DEADPEER_SEED", 1);
    println!("seed {seed}, {hours} hours");
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let each = 20; // half of it on average: a session ends with a death at any time
    for session in 0..hours / (each / 2) {
        let before = chance.0;
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(&mut chance, each)));
        assert!(ran.is_ok(), "session {session} of seed {seed} (state {before:#x})");
    }
}
