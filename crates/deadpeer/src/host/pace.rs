//! How fast peers are asked.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How often, how fast and for how long peers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// At most; `None` for as many as proof takes.
    pub(super) tries: Option<u16>,
    pub(super) gap: Duration,
    pub(super) timeout: Duration,
    pub(super) per_second: Option<NonZeroU32>,
}

impl Default for Pace {
    /// As many questions as proof takes, a second apart at least, 30 s for all of them; 2,000 a second over all
    /// connections.
    fn default() -> Self {
        Self {
            tries: None,
            gap: Pace::SHORTEST_GAP,
            timeout: Duration::from_secs(30),
            per_second: NonZeroU32::new(2_000),
        }
    }
}

impl Pace {
    /// Linux answers one empty segment in 500 ms and counts the owner's own probes among them
    /// (`tcp_invalid_ratelimit` in ip-sysctl.rst): questions closer than this would make living peers look
    /// dead.
    pub const SHORTEST_GAP: Duration = Duration::from_secs(1);

    /// Asks at most `tries` times, 1 at least. Fewer than proof takes leave a silent peer `suspect`.
    ///
    /// # Errors
    /// [`PaceError`] for none.
    pub fn tries(self, tries: u16) -> Result<Self, PaceError> {
        if tries == 0 { Err(PaceError::NoTries) } else { Ok(Self { tries: Some(tries), ..self }) }
    }

    /// A single question.
    pub(super) const fn one_try(self) -> Self {
        Self { tries: Some(1), ..self }
    }

    /// Leaves at least this much time between two questions to the same peer; more where its round-trip time
    /// varies.
    ///
    /// # Errors
    /// [`PaceError`] below [`Pace::SHORTEST_GAP`].
    pub fn gap(self, gap: Duration) -> Result<Self, PaceError> {
        if gap < Self::SHORTEST_GAP { Err(PaceError::TooClose(gap)) } else { Ok(Self { gap, ..self }) }
    }

    /// Waits this long for an answer to any of a peer's questions, counted from the first. The time that questions
    /// wait for their place in the pace is added. A peer whose silence is no proof by then is `suspect`.
    pub const fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends at most so many questions a second, over all connections; `None` for no limit.
    pub const fn per_second(self, per_second: Option<NonZeroU32>) -> Self {
        Self { per_second, ..self }
    }

    /// Whether the last question leaves before the waiting ends, where their number is fixed.
    ///
    /// # Errors
    /// [`PaceError::TooShort`].
    pub fn check(self) -> Result<Self, PaceError> {
        let last = self.gap * u32::from(self.tries.unwrap_or(1) - 1);
        if self.timeout <= last {
            return Err(PaceError::TooShort { timeout: self.timeout, last });
        }
        Ok(self)
    }
}

/// A pace that would mislead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PaceError {
    /// No questions at all.
    NoTries,
    /// Questions so close that living peers leave some unanswered.
    TooClose(Duration),
    /// The waiting ends before the last question is sent.
    TooShort {
        /// How long is waited.
        timeout: Duration,
        /// When the last question leaves.
        last: Duration,
    },
}

impl fmt::Display for PaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTries => f.write_str("at least one try is needed"),
            Self::TooClose(gap) => write!(
                f,
                "tries must be at least 1 s apart, not {} ms: Linux answers one empty probe in 500 ms \
                 (tcp_invalid_ratelimit), so closer tries make living peers look dead",
                gap.as_millis()
            ),
            Self::TooShort { timeout, last } => write!(
                f,
                "the timeout of {} ms ends before the last try leaves, at {} ms",
                timeout.as_millis(),
                last.as_millis()
            ),
        }
    }
}

impl std::error::Error for PaceError {}

/// Spreads questions evenly.
#[derive(Debug)]
pub(super) struct Tokens {
    interval: Option<Duration>,
    next: Instant,
}

impl Tokens {
    /// Missed places within this time are made up for; more would be a burst.
    const CATCH_UP: Duration = Duration::from_millis(20);

    pub(super) fn new(per_second: Option<NonZeroU32>, now: Instant) -> Self {
        Self { interval: per_second.map(|rate| Duration::from_secs(1) / rate.get()), next: now }
    }

    /// Takes a place now, or says when the next one is free.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(interval) = self.interval else { return Ok(()) };
        if now < self.next {
            return Err(self.next);
        }
        let earliest = now.checked_sub(Self::CATCH_UP).unwrap_or(now);
        self.next = self.next.max(earliest) + interval;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_keep_the_rate_over_any_second() {
        let start = Instant::now();
        let mut tokens = Tokens::new(NonZeroU32::new(100), start);
        let sent = (0..2_000u64)
            .filter(|half_ms| tokens.take(start + Duration::from_micros(500 * half_ms)).is_ok())
            .count();
        assert!((99..=101).contains(&sent), "{sent} in a second");
        // A long pause is not made up for by a burst.
        let later = start + Duration::from_secs(60);
        let burst = (0..100).filter(|_| tokens.take(later).is_ok()).count();
        assert!(burst <= 3, "{burst} at once");
    }

    #[test]
    fn paces_that_mislead_are_refused() {
        assert!(Pace::default().gap(Duration::from_millis(900)).is_err());
        assert!(Pace::default().tries(0).is_err());
        assert!(Pace::default().tries(31).unwrap().check().is_err());
        assert!(Pace::default().tries(30).unwrap().check().is_ok());
        assert!(Pace::default().check().is_ok());
    }
}
