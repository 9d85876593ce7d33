//! The clock of the loops.

use std::time::Instant as Std;

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
