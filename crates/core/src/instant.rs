//! A moment on the caller's clock.

use core::time::Duration;

/// A reading of a monotonic clock that the *caller* owns: nanoseconds since an origin of its choice.
///
/// It counts 584 years; sums and differences stop at the ends instead of wrapping. Use a clock that stands
/// still while the machine sleeps (`CLOCK_MONOTONIC`), or tell the pause
/// ([`Heartbeat::handle_pause`](crate::Heartbeat::handle_pause)).
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::Instant;
///
/// let start = Instant::from_origin(Duration::from_secs(5));
/// let later = start.after(Duration::from_millis(300));
/// assert_eq!(later.since(start), Duration::from_millis(300));
/// assert_eq!(start.since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The end of time.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `elapsed` after the origin.
    pub const fn from_origin(elapsed: Duration) -> Self {
        Self(nanos(elapsed))
    }

    /// The time since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `time` earlier; the origin if that is earlier than the origin.
    pub const fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(time)))
    }

    /// Whole milliseconds since the origin.
    pub(crate) const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole microseconds since the origin.
    pub(crate) const fn micros(self) -> u64 {
        self.0 / 1_000
    }

    /// The moment `wait` later.
    pub const fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(nanos(wait)))
    }
}

const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}
