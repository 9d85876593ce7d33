//! The detection time: how long a silent peer goes unnoticed.

use core::fmt;
use core::time::Duration;

use crate::known::{Known, Why};
use crate::platform::Platform;
use crate::protection::Protection;
use crate::retransmission::Backoff;
use crate::settings::Keepalive;
use crate::text::Span;

/// How long it takes in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Within this range.
    Within {
        /// Not before: every timer on time.
        least: Duration,
        /// Not after: every timer as late as the kernel's wheel may make it.
        most: Duration,
    },
    /// Nothing ever notices.
    Never,
    /// It depends on what could not be read.
    Unknown(Why),
}

impl fmt::Display for Bound {
    /// "8 s", "15 min 25 s", "never", "unknown": the least, since the most is near.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within { least, .. } => Span(*least).fmt(f),
            Self::Never => f.write_str("never"),
            Self::Unknown(_) => f.write_str("unknown"),
        }
    }
}

/// The detection time (RFC 5880 calls it so) for each state that a peer can fall silent in.
///
/// Counted from the last segment that came from the peer when idle, and from the first transmission of
/// unanswered data otherwise. A peer that dies in the middle of an idle phase is noticed that much sooner
/// after its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detection {
    /// Nothing is in flight: only keepalive notices.
    pub idle: Bound,
    /// Sent data is unacknowledged: keepalive does not run then, retransmissions rule.
    pub in_flight: Bound,
    /// The peer's window is shut and data waits: window probes rule.
    pub shut_window: Bound,
    /// The peer's kernel answers for an application that hangs: no kernel setting notices, only a heartbeat.
    pub hung_application: Bound,
}

/// Predicts the detection time of a connection whose retransmission timeout is `rto`.
///
/// # Sources
/// net/ipv4/tcp_timer.c: `tcp_keepalive_timer`, `tcp_write_timeout`, `tcp_probe_timer`; the figures were
/// measured on Linux 6.18.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::{Bound, Keepalive, KeepaliveSeen, Known, Platform, Protection, detection};
///
/// let values = Keepalive::new(Duration::from_secs(5), Duration::from_secs(1), 5)?;
/// let protection = Protection {
///     keepalive: Known::Is(KeepaliveSeen { enabled: true, values: Known::Is(values) }),
///     user_timeout: Known::Is(None),
///     rto_max: Known::Is(None),
/// };
/// let detection = detection(&protection, &Platform::linux(), Duration::from_millis(204));
/// assert_eq!(detection.idle.to_string(), "10 s");
/// assert_eq!(detection.in_flight.to_string(), "15 min 24 s");
/// assert_eq!(detection.hung_application, Bound::Never);
/// # Ok::<(), deadpeer_core::OutOfRange>(())
/// ```
pub fn detection(protection: &Protection, platform: &Platform, rto: Duration) -> Detection {
    let (in_flight, shut_window) = match (protection.user_timeout, protection.rto_max) {
        (Known::Not(why), _) | (Known::Is(None), Known::Not(why)) => {
            (Bound::Unknown(why), Bound::Unknown(why))
        }
        (Known::Is(Some(timeout)), _) => (
            bounded_in_flight(timeout, platform, rto),
            Bound::Within {
                least: timeout,
                most: platform.latest(timeout.saturating_add(rto.saturating_mul(2))),
            },
        ),
        (Known::Is(None), Known::Is(ceiling)) => {
            unbounded(Backoff::new(rto, ceiling.unwrap_or(platform.rto_max)), platform, rto)
        }
    };
    Detection { idle: idle(protection, platform), in_flight, shut_window, hung_application: Bound::Never }
}

/// Keepalive looks at the time since the last sign of the peer, first after `idle`, then every `interval`.
fn idle(protection: &Protection, platform: &Platform) -> Bound {
    let keepalive = match protection.keepalive {
        Known::Not(why) => return Bound::Unknown(why),
        Known::Is(seen) if !seen.enabled => return Bound::Never,
        Known::Is(seen) => match seen.values {
            Known::Not(why) => return Bound::Unknown(why),
            Known::Is(values) => values,
        },
    };
    let probes = match protection.user_timeout {
        Known::Not(why) => return Bound::Unknown(why),
        Known::Is(None) => u32::from(keepalive.probes()),
        Known::Is(Some(timeout)) => probes_until(timeout, keepalive),
    };
    let silence = keepalive.interval().saturating_mul(probes);
    Bound::Within {
        least: keepalive.idle().saturating_add(silence),
        // Where the interval is the longer of the two, the timer that sent an answered probe looks again
        // only an interval later.
        most: platform.latest(keepalive.idle().max(keepalive.interval()).saturating_add(silence)),
    }
}

/// With a user timeout the number of probes is ignored: the first look past the timeout ends the connection,
/// but never before one probe was sent.
fn probes_until(timeout: Duration, keepalive: Keepalive) -> u32 {
    let wait = timeout.saturating_sub(keepalive.idle()).as_millis();
    u32::try_from(wait.div_ceil(keepalive.interval().as_millis().max(1))).unwrap_or(u32::MAX).max(1)
}

/// The user timeout counts from the first retransmission, which comes one RTO after the data, or up to two
/// where a tail loss probe went before (RFC 8985).
fn bounded_in_flight(timeout: Duration, platform: &Platform, rto: Duration) -> Bound {
    Bound::Within {
        least: timeout.saturating_add(rto),
        most: platform.latest(timeout.saturating_add(rto.saturating_mul(2))),
    }
}

fn unbounded(backoff: Backoff, platform: &Platform, rto: Duration) -> (Bound, Bound) {
    let (earliest, nominal) = backoff.data_given_up(platform.retries);
    let window = backoff.window_given_up(platform.retries);
    (
        Bound::Within { least: earliest, most: platform.latest(nominal.saturating_add(rto)) },
        Bound::Within { least: window, most: platform.latest(window.saturating_add(rto)) },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protection::KeepaliveSeen;

    fn protection(idle: u64, interval: u64, probes: u8, user_timeout: u64) -> Protection {
        let secs = Duration::from_secs;
        let values = Keepalive::new(secs(idle), secs(interval), probes).unwrap();
        Protection {
            keepalive: Known::Is(KeepaliveSeen { enabled: true, values: Known::Is(values) }),
            user_timeout: Known::Is((user_timeout > 0).then(|| Duration::from_millis(user_timeout))),
            rto_max: Known::Is(None),
        }
    }

    /// idle/interval/probes, user timeout in ms → seen in ms, on Linux 6.18, idle, silent peer.
    type Seen = ((u64, u64, u8, u64), u64);

    const MEASURED: &[Seen] = &[
        ((4, 2, 2, 0), 8_220),
        ((5, 1, 5, 0), 10_310),
        ((5, 1, 10, 0), 15_430),
        ((5, 5, 3, 0), 20_570),
        ((10, 5, 5, 0), 35_670),
        ((30, 5, 5, 0), 57_420),
        ((60, 5, 3, 0), 75_870),
        ((17, 17, 1, 0), 37_450),
        ((2, 1, 10, 3_000), 3_060),
        ((2, 1, 10, 5_000), 5_090),
        ((2, 1, 3, 20_000), 20_450),
        ((1, 1, 2, 60_000), 60_400),
        ((1, 11, 3, 5_000), 12_110),
        ((1, 11, 3, 12_500), 23_170),
        ((1, 11, 3, 30_000), 34_220),
        ((10, 2, 3, 3_000), 12_100),
    ];

    #[test]
    fn idle_ranges_hold_what_was_measured() {
        for &((i, v, n, u), seen) in MEASURED {
            let predicted =
                detection(&protection(i, v, n, u), &Platform::linux(), Duration::from_millis(204));
            let Bound::Within { least, most } = predicted.idle else { panic!("{predicted:?}") };
            let seen = Duration::from_millis(seen);
            assert!(least <= seen && seen <= most, "{i}/{v}/{n} U={u}: {seen:?} not in {least:?}..{most:?}");
        }
    }

    #[test]
    fn without_keepalive_an_idle_death_is_never_noticed_even_with_a_user_timeout() {
        let mut off = protection(5, 1, 5, 3_000);
        off.keepalive = off.keepalive.map(|seen| KeepaliveSeen { enabled: false, ..seen });
        let predicted = detection(&off, &Platform::linux(), Duration::from_millis(204));
        assert_eq!(predicted.idle, Bound::Never);
        assert!(matches!(predicted.in_flight, Bound::Within { .. }));
    }

    #[test]
    fn what_could_not_be_read_is_unknown_with_its_reason() {
        let nothing = Protection::unknown(Why::NoPermission);
        let predicted = detection(&nothing, &Platform::linux(), Duration::from_millis(204));
        assert_eq!(predicted.idle, Bound::Unknown(Why::NoPermission));
        assert_eq!(predicted.in_flight, Bound::Unknown(Why::NoPermission));
    }
}
