//! How often to send, and how long to wait.

use core::fmt;
use core::time::Duration;

use crate::policy::Policy;
use crate::random::Random;
use crate::text::{BytesPerDay, Span};

/// How often this side sends something, and how long it waits for the peer.
///
/// The two belong to different directions: `interval` is a promise to the peer, `tolerance` rests on the
/// peer's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    interval: Duration,
    tolerance: Duration,
}

impl Timing {
    /// The shortest interval: a heartbeat is not for measuring.
    pub const SHORTEST: Duration = Duration::from_millis(10);
    /// The longest interval and tolerance.
    pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
    /// What TCP may add to a delivery without any outage: a lost segment comes again after one
    /// retransmission timeout, 200 ms at least on Linux, and the round trip.
    pub const RETRANSMISSION: Duration = Duration::from_millis(500);

    /// Sends every `interval` at the latest, and waits `tolerance` for the peer.
    ///
    /// # Errors
    /// [`TimingError`] when one lies outside [`Timing::SHORTEST`]`..=`[`Timing::LONGEST`].
    pub fn new(interval: Duration, tolerance: Duration) -> Result<Self, TimingError> {
        for value in [interval, tolerance] {
            if !(Self::SHORTEST..=Self::LONGEST).contains(&value) {
                return Err(TimingError::OutOfRange { value });
            }
        }
        Ok(Self { interval, tolerance })
    }

    /// The timing that keeps `policy` when both sides have it.
    ///
    /// The tolerance is the detection time D. An outage T that begins just after a beat swallows the next
    /// one, an interval I later; TCP sends it again after pauses that double, so the first attempt after the
    /// outage may come as late as another T (and a retransmission timeout R). The silence that a healthy peer
    /// can show is therefore I + 2·T + R, and must be shorter than D. I is a third of D or less, so that one
    /// late beat is never a death. Where a middlebox forgets idle connections, I is shorter than its patience by R,
    /// so that a beat that was lost still comes in time.
    ///
    /// # Errors
    /// [`TimingError::Unreachable`] when no interval does, [`TimingError::TooCostly`] when they cost too much.
    ///
    /// ```
    /// use core::time::Duration;
    /// use deadpeer_core::{Policy, Timing};
    ///
    /// let policy = Policy::detect(Duration::from_secs(10)).survive(Duration::from_secs(3)).build()?;
    /// let timing = Timing::keeping(&policy)?;
    /// assert_eq!(timing.tolerance(), Duration::from_secs(10));
    /// assert_eq!(timing.interval(), Duration::from_secs(10) / 3);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn keeping(policy: &Policy) -> Result<Self, TimingError> {
        let (detect, outage) = (policy.detection_time(), policy.outage());
        let lost = Self::late_after(outage);
        let unreachable = TimingError::Unreachable { detect, least: lost.saturating_add(Self::SHORTEST) };
        let room = detect.checked_sub(lost).filter(|room| *room >= Self::SHORTEST).ok_or(unreachable)?;
        let mut interval = room.min(detect / 3);
        if let Some(mapping) = policy.mapping_timeout() {
            interval = interval.min(mapping.saturating_sub(Self::RETRANSMISSION));
        }
        let timing = Self::new(interval, detect)?;
        match policy.bytes_per_day() {
            Some(budget) if timing.bytes_per_day() > budget => {
                Err(TimingError::TooCostly { budget, least: timing.bytes_per_day() })
            }
            _ => Ok(timing),
        }
    }

    /// How much later a beat may come than it was sent, when it falls into an outage that long.
    pub(crate) const fn late_after(outage: Duration) -> Duration {
        outage.saturating_mul(2).saturating_add(Self::RETRANSMISSION)
    }

    /// What an idle session costs at most, when both sides have this timing: bytes of IP packets a day, both
    /// directions. IPv6 headers are counted, with TCP's and its time stamps.
    pub fn bytes_per_day(&self) -> u64 {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        const PACKET: u64 = 40 + 20 + 12;
        // Of each side: a beat and its acknowledgement; for each sixth, as much again for the answer.
        const BEAT: u64 = 2 * (2 * PACKET + 1 + (2 * PACKET).div_ceil(6));
        // Heartbeats are due after 0.70 of the interval at the earliest.
        let beats = DAY.as_nanos() * 10 / (self.interval.as_nanos() * 7);
        u64::try_from(beats).unwrap_or(u64::MAX).saturating_mul(BEAT)
    }

    /// The time from one heartbeat to the next: 0.70 to 0.875 of the interval. The jitter (RFC 5880, 6.8.7) keeps
    /// thousands of sessions from beating in step; the rest is for a process that is late.
    pub fn next(&self, random: &mut Random) -> Duration {
        Self::jittered(self.interval, random)
    }

    pub(crate) fn jittered(interval: Duration, random: &mut Random) -> Duration {
        let latest = interval * 7 / 8;
        latest - random.between(Duration::ZERO, interval * 7 / 40)
    }

    /// Something is sent at least this often.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// A peer that is not heard for this long is lost.
    pub const fn tolerance(&self) -> Duration {
        self.tolerance
    }
}

/// Times that no heartbeat can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimingError {
    /// One is too short or too long.
    OutOfRange {
        /// The one.
        value: Duration,
    },
    /// The outage that must be survived takes longer than a death may stay unnoticed.
    Unreachable {
        /// The wanted detection time.
        detect: Duration,
        /// The shortest that survives the outage.
        least: Duration,
    },
    /// So many beats cost more than they may.
    TooCostly {
        /// What they may cost, bytes a day.
        budget: u64,
        /// What they cost at least.
        least: u64,
    },
}

impl fmt::Display for TimingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { value } => write!(
                f,
                "a heartbeat can't have {}: the least is {}, the most {}",
                Span(*value),
                Span(Timing::SHORTEST),
                Span(Timing::LONGEST)
            ),
            Self::Unreachable { detect, least } => write!(
                f,
                "a heartbeat can't notice a death within {}: surviving the outage takes {} at least",
                Span(*detect),
                Span(*least)
            ),
            Self::TooCostly { budget, least } => write!(
                f,
                "heartbeats that keep this cost {} at least, more than {}",
                BytesPerDay(*least),
                BytesPerDay(*budget)
            ),
        }
    }
}

impl core::error::Error for TimingError {}
