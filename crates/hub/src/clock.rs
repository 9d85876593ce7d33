//! The clock of the loops.

use std::time::{Duration, Instant as Std};

use deadpeer_core::Instant;

/// All loops of a hub count from one origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Std);

impl Clock {
    /// Now is the origin.
    pub(crate) fn start() -> Self {
        Self(Std::now())
    }

    pub(crate) fn now(self) -> Instant {
        Instant::from_origin(self.0.elapsed())
    }
}

/// Microseconds, wrapping after 71 minutes: the token of a PING, from which its answer tells the time it took.
pub(crate) const fn micros(now: Instant) -> u32 {
    since_origin(now).as_micros() as u32
}

/// Milliseconds, wrapping after 49 days.
pub(crate) const fn millis(now: Instant) -> u32 {
    since_origin(now).as_millis() as u32
}

/// Whole seconds; 136 years.
pub(crate) const fn seconds(now: Instant) -> u32 {
    since_origin(now).as_secs() as u32
}

const fn since_origin(now: Instant) -> Duration {
    now.since(Instant::from_origin(Duration::ZERO))
}
