//! When to try again.

use core::time::Duration;

use crate::instant::Instant;
use crate::random::Random;

/// How to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Return {
    /// The shortest wait.
    pub least: Duration,
    /// The longest wait, but for what a server's goodbye asks for.
    pub most: Duration,
    /// A connection that was up for this long was a good one: the waits begin anew.
    pub stable: Duration,
    /// The number of tries in a row that may fail; `None` for no limit.
    pub tries: Option<u32>,
    /// The longest time for which a server's goodbye can ask the client to stay away. A mistake there must not keep
    /// clients away for days.
    pub longest_asked: Duration,
}

impl Default for Return {
    /// Waits of 0.5 s to a minute, anew after a minute of peace, without a limit of tries; an hour if a server asks.
    fn default() -> Self {
        Self {
            least: Duration::from_millis(500),
            most: Duration::from_secs(60),
            stable: Duration::from_secs(60),
            tries: None,
            longest_asked: Duration::from_secs(3600),
        }
    }
}

/// Exponential backoff with decorrelated jitter: each wait lies anywhere between the shortest and three times
/// the one before.
///
/// Jitter matters more than the exponent: when a server restarts, all its clients lose it in the same
/// instant. So the first wait is spread over seconds already: of 10,000 clients less than 3 % come in the
/// busiest tenth of a second.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::{Instant, Reconnect, Return};
///
/// let now = Instant::default();
/// let mut reconnect = Reconnect::new(Return::default(), 42);
/// let wait = reconnect.handle_lost(now, Duration::ZERO).expect("no limit of tries");
/// assert!(wait >= Duration::from_millis(500) && wait <= Duration::from_millis(8_000));
///
/// // A server said that it restarts, and asked for half a minute.
/// let wait = reconnect.handle_lost(now.after(wait), Duration::from_secs(30)).expect("no limit of tries");
/// assert!(wait >= Duration::from_secs(30));
/// ```
#[derive(Clone, Debug)]
pub struct Reconnect {
    /// The place with which the next round begins.
    first: usize,
    /// How many sessions in a row ended soon.
    short: u8,
    how: Return,
    random: Random,
    /// The last wait.
    last: Duration,
    failed: u32,
    up: Option<Instant>,
}

impl Reconnect {
    /// The first wait lies between the shortest and so many times that.
    const FIRST: u32 = 16;
    /// After so many sessions in a row that were up for less than [`Return::stable`], another place is tried first.
    const SHORT: u8 = 3;
    /// Each later wait is at most so many times the one before.
    const GROWTH: u32 = 3;

    /// `seed` makes the jitter: another one for each client, or they all wait alike.
    pub fn new(how: Return, seed: u64) -> Self {
        let how = Return { most: how.most.max(how.least), ..how };
        Self { first: 0, short: 0, how, random: Random::new(seed), last: Duration::ZERO, failed: 0, up: None }
    }

    /// The order in which to try `count` places in the next round: first the one that worked last.
    pub fn round(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        rounds(count, self.first)
    }

    /// Whether the next round begins with `place`: it worked last, and its sessions did not end soon again and again.
    pub const fn prefers(&self, place: usize) -> bool {
        self.first == place
    }

    /// How long one of `count` places may take to be connected and to greet, if a death is to be noticed within `detect`: all
    /// of it, because a place that does not answer in that time is as dead as one that falls silent. A silent place
    /// never keeps the others from being tried.
    pub fn place_patience(&self, detect: Duration) -> Duration {
        detect.clamp(Duration::from_millis(250), Duration::from_secs(30))
    }

    /// A connection to `place` is up.
    pub fn handle_up(&mut self, place: usize, now: Instant) {
        self.first = place;
        self.up = Some(now);
    }

    /// The connection was lost, or could not be made. How long to wait before the next try; `None` when the
    /// limit of tries is reached. `asked` is the wait that the server's goodbye asks for, zero for none: it
    /// is kept up to [`Return::longest_asked`], and the jitter comes on top.
    pub fn handle_lost(&mut self, now: Instant, asked: Duration) -> Option<Duration> {
        if let Some(up) = self.up.take() {
            if now.since(up) >= self.how.stable {
                self.last = Duration::ZERO;
                self.short = 0;
            } else {
                self.short += 1;
                if self.short == Self::SHORT {
                    // A place that accepts and fails again and again must not keep the client from the others.
                    self.first = self.first.wrapping_add(1);
                    self.short = 0;
                }
            }
            self.failed = 0;
        }
        self.failed = self.failed.saturating_add(1);
        if self.how.tries.is_some_and(|tries| self.failed > tries) {
            return None;
        }
        let most = match self.last {
            Duration::ZERO => self.how.least.saturating_mul(Self::FIRST),
            last => last.saturating_mul(Self::GROWTH).max(self.how.least.saturating_mul(Self::FIRST)),
        };
        self.last = self.random.between(self.how.least, most.min(self.how.most));
        Some(asked.min(self.how.longest_asked).saturating_add(self.last))
    }

    /// How many tries in a row have failed.
    pub const fn failed(&self) -> u32 {
        self.failed
    }
}

/// All of `count` places, beginning with `first`.
///
/// ```
/// assert_eq!(deadpeer_core::rounds(3, 1).collect::<Vec<_>>(), [1, 2, 0]);
/// ```
pub fn rounds(count: usize, first: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| (first % count.max(1) + n) % count.max(1))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(ms))
    }

    #[test]
    fn waits_grow_and_stay_within_their_bounds() {
        let how = Return::default();
        let mut longest = Duration::ZERO;
        for seed in 0..100 {
            let mut reconnect = Reconnect::new(how, seed);
            for _ in 0..50 {
                let wait = reconnect.handle_lost(at(0), Duration::ZERO).unwrap();
                assert!(wait >= how.least && wait <= how.most);
                longest = longest.max(wait);
            }
        }
        assert!(longest > how.most * 3 / 4);
    }

    #[test]
    fn a_limit_is_a_limit_and_success_counts_anew() {
        let mut reconnect = Reconnect::new(Return { tries: Some(2), ..Return::default() }, 1);
        let lost = |reconnect: &mut Reconnect| reconnect.handle_lost(at(0), Duration::ZERO).is_some();
        assert_eq!([lost(&mut reconnect), lost(&mut reconnect), lost(&mut reconnect)], [true, true, false]);
        reconnect.handle_up(0, at(0));
        assert!(lost(&mut reconnect));
    }

    #[test]
    fn the_next_round_begins_where_it_worked_unless_that_fails_again_and_again() {
        let mut reconnect = Reconnect::new(Return::default(), 1);
        let round = |reconnect: &Reconnect| reconnect.round(3).collect::<Vec<_>>();
        assert_eq!(round(&reconnect), [0, 1, 2]);
        reconnect.handle_up(2, at(0));
        let _ = reconnect.handle_lost(at(100_000), Duration::ZERO);
        assert_eq!(round(&reconnect), [2, 0, 1]);
        for expected in [[2, 0, 1], [2, 0, 1], [0, 1, 2]] {
            reconnect.handle_up(2, at(100_000));
            let _ = reconnect.handle_lost(at(100_500), Duration::ZERO);
            assert_eq!(round(&reconnect), expected);
            assert_eq!(reconnect.prefers(2), expected[0] == 2);
        }
    }

    #[test]
    fn a_goodbye_can_not_ask_for_days() {
        let mut reconnect = Reconnect::new(Return::default(), 1);
        let wait = reconnect.handle_lost(at(0), Duration::from_secs(49 * 24 * 3600)).unwrap();
        assert!(wait <= Duration::from_secs(3600 + 60), "{wait:?}");
    }

    #[test]
    fn after_a_stable_time_the_waits_begin_anew() {
        let how = Return::default();
        for (peace, anew) in [(how.stable, true), (how.stable / 2, false)] {
            let waits = (0..200).map(|seed| {
                let mut reconnect = Reconnect::new(how, seed);
                for _ in 0..10 {
                    reconnect.handle_lost(at(0), Duration::ZERO);
                }
                reconnect.handle_up(0, at(0));
                reconnect.handle_lost(at(0).after(peace), Duration::ZERO).unwrap()
            });
            assert_eq!(waits.max().unwrap() <= how.least * Reconnect::FIRST, anew);
        }
    }

    #[test]
    fn ten_thousand_clients_do_not_come_back_in_the_same_instant() {
        // Each tries when its wait is over, and succeeds as soon as the server is back.
        for down in [0, 500, 1_000, 3_000, 7_000, 20_000, 60_000] {
            let mut came: Vec<u64> = (0..10_000)
                .map(|seed| {
                    let mut reconnect = Reconnect::new(Return::default(), seed);
                    let mut now = 0;
                    loop {
                        now += reconnect.handle_lost(at(now), Duration::ZERO).unwrap().as_millis() as u64;
                        if now >= down {
                            return now;
                        }
                    }
                })
                .collect();
            came.sort_unstable();
            let busiest = (0..came.len())
                .map(|first| came[first..].iter().take_while(|&&at| at < came[first] + 100).count())
                .max();
            assert!(busiest < Some(300), "{busiest:?} of 10,000 within 100 ms, {down} ms down");
        }
    }
}
