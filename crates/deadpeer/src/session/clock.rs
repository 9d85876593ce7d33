//! The clock of sessions.

use std::sync::OnceLock;
use std::time::{Duration, Instant as Std};

use deadpeer_core::Instant;

/// Now, on the clock that stands still while the machine sleeps (CLOCK_MONOTONIC on Linux): what the peer
/// could not say meanwhile is not held against it.
pub(super) fn now() -> Instant {
    static ORIGIN: OnceLock<Std> = OnceLock::new();
    Instant::from_origin(ORIGIN.get_or_init(Std::now).elapsed())
}

/// How long to wait for `deadline`; `None` for ever.
pub(super) fn until(deadline: Instant) -> Option<Duration> {
    (deadline != Instant::NEVER).then(|| deadline.since(now()))
}

/// A seed that is another one for each session of this host, and of each host: for those who drive the protocol
/// themselves, so that thousands don't beat in step.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
