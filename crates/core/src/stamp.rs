//! Moments in 4 bytes, for tables with a row for each connection.

use core::time::Duration;

use crate::instant::Instant;

/// A moment in milliseconds that wrap after 49.7 days. Two stamps can be compared if they are less than 24 days apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(pub u32);

impl Stamp {
    /// The moment `now`, cut to whole milliseconds.
    #[inline]
    pub(crate) const fn of(now: Instant) -> Self {
        Self(now.millis() as u32)
    }

    /// The milliseconds from this moment to `now`; negative if this moment is later.
    #[inline]
    pub(crate) const fn age(self, now: Self) -> i32 {
        now.0.wrapping_sub(self.0).cast_signed()
    }

    /// The time from this moment to `now`; zero if this moment is later.
    pub(crate) fn since(self, now: Instant) -> Duration {
        Duration::from_millis(u64::from(self.age(Self::of(now)).max(0).cast_unsigned()))
    }

    /// The moment `wait` later. The time is cut to whole milliseconds, and to 24 days.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.wrapping_add(millis(wait).min(i32::MAX.cast_unsigned())))
    }

    /// This moment as an [`Instant`], on the clock that shows `now`.
    pub(crate) fn instant(self, now: Instant) -> Instant {
        let ahead = self.0.wrapping_sub(Self::of(now).0).cast_signed();
        Instant::from_origin(Duration::from_millis(now.millis().saturating_add_signed(i64::from(ahead))))
    }
}

/// Whole milliseconds, rounded down.
pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Whole milliseconds, rounded up.
pub(crate) fn millis_rounded_up(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
