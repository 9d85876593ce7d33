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
    /// So many tries in a row may fail; `None` for no limit.
    pub tries: Option<u32>,
}

impl Default for Return {
    /// Waits of 0.5 s to a minute, anew after a minute of peace, without a limit.
    fn default() -> Self {
        Self {
            least: Duration::from_millis(500),
            most: Duration::from_secs(60),
            stable: Duration::from_secs(60),
            tries: None,
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
    /// Each later wait is at most so many times the one before.
    const GROWTH: u32 = 3;

    /// `seed` makes the jitter: another one for each client, or they all wait alike.
    pub fn new(how: Return, seed: u64) -> Self {
        let how = Return { most: how.most.max(how.least), ..how };
        Self { how, random: Random::new(seed), last: Duration::ZERO, failed: 0, up: None }
    }

    /// A connection is up.
    pub fn handle_up(&mut self, now: Instant) {
        self.up = Some(now);
    }

    /// The connection was lost, or could not be made. How long to wait before the next try; `None` when the
    /// limit of tries is reached. `asked` is the wait that the server's goodbye asks for, zero for none: it
    /// is kept, and the jitter comes on top.
    pub fn handle_lost(&mut self, now: Instant, asked: Duration) -> Option<Duration> {
        if let Some(up) = self.up.take() {
            if now.since(up) >= self.how.stable {
                self.last = Duration::ZERO;
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
        Some(asked.saturating_add(self.last))
    }

    /// How many tries in a row have failed.
    pub const fn failed(&self) -> u32 {
        self.failed
    }
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
        reconnect.handle_up(at(0));
        assert!(lost(&mut reconnect));
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
                reconnect.handle_up(at(0));
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
