//! The detection time: how long a silent peer goes unnoticed.

use core::fmt;
use core::time::Duration;

use crate::known::{Known, Why};
use crate::platform::{Connecting, Platform, System};
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

impl Bound {
    /// The end of the range, where there is one.
    ///
    /// ```
    /// use core::time::Duration;
    /// use deadpeer_core::Bound;
    ///
    /// let second = Duration::from_secs(1);
    /// assert_eq!(Bound::Within { least: second, most: second * 2 }.most(), Some(second * 2));
    /// assert_eq!(Bound::Never.most(), None);
    /// ```
    pub const fn most(self) -> Option<Duration> {
        match self {
            Self::Within { most, .. } => Some(most),
            Self::Never | Self::Unknown(_) => None,
        }
    }
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
/// Counted from the last segment that came from the peer when idle or with its window shut, and from the first
/// transmission of unanswered data or of a SYN. (A user timeout runs from the moment that the window is found
/// shut, whether or not the peer answers: with one, that may be the sooner.) A peer that dies in the middle of
/// an idle phase, or between two probes, is noticed that much sooner after its death. Linux counts in ticks: up
/// to one of them (10 ms at the slowest usual HZ) may be missing from the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detection {
    /// Nothing is in flight: only keepalive notices.
    pub idle: Bound,
    /// Sent data is unacknowledged: keepalive does not run then, retransmissions rule.
    pub in_flight: Bound,
    /// The peer's window is shut and data waits: window probes rule. The longer it was shut before the peer
    /// fell silent, the longer have their pauses grown: the least is for a window that was just found shut.
    pub shut_window: Bound,
    /// Nobody answers our SYN.
    pub connecting: Bound,
    /// The peer's kernel answers for an application that hangs: no kernel setting notices, only a heartbeat.
    pub hung_application: Bound,
}

/// Predicts the detection time of a connection whose retransmission timeout is `rto`.
///
/// # Sources
/// net/ipv4/tcp_timer.c: `tcp_keepalive_timer`, `tcp_write_timeout`, `tcp_probe_timer`; the figures were
/// measured on Linux 6.18. For other systems see [`Platform`]; nothing was measured there.
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
/// assert_eq!(detection.connecting.to_string(), "2 min 11 s");
/// assert_eq!(detection.hung_application, Bound::Never);
/// # Ok::<(), deadpeer_core::OutOfRange>(())
/// ```
pub fn detection(protection: &Protection, platform: &Platform, rto: Duration) -> Detection {
    let idle = idle(protection, platform);
    let unknown = |why| Detection {
        idle,
        in_flight: Bound::Unknown(why),
        shut_window: Bound::Unknown(why),
        connecting: Bound::Unknown(why),
        hung_application: Bound::Never,
    };
    let timeout = match (protection.user_timeout, protection.rto_max) {
        (Known::Not(why), _) | (Known::Is(None), Known::Not(why)) => return unknown(why),
        (Known::Is(timeout), _) => timeout,
    };
    let ceiling = protection.rto_ceiling(platform);
    let or_unknown = |bound: Result<Bound, Why>| bound.unwrap_or_else(Bound::Unknown);
    Detection {
        idle,
        in_flight: or_unknown(in_flight(timeout, rto, ceiling, platform)),
        shut_window: or_unknown(shut_window(timeout, rto, ceiling, platform)),
        connecting: or_unknown(connecting(timeout, ceiling, platform)),
        hung_application: Bound::Never,
    }
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
    let timeout = match protection.user_timeout {
        _ if !platform.bound.replaces_probe_count => None,
        Known::Not(why) => return Bound::Unknown(why),
        Known::Is(timeout) => timeout,
    };
    // Where the interval is the longer of the two, the timer that sent an answered probe looks again only an
    // interval later.
    let (idle, interval) = (keepalive.idle(), keepalive.interval());
    let first = idle.max(interval);
    let after = |probes| first.saturating_add(interval.saturating_mul(probes));
    let Some(timeout) = timeout else {
        let probes = u32::from(keepalive.probes());
        let least = idle.saturating_add(interval.saturating_mul(probes));
        return Bound::Within { least, most: platform.latest(after(probes)) };
    };
    // With a user timeout the number of probes is ignored: the first look past the timeout ends the
    // connection, but never before one probe was sent. That look comes at most one interval after the
    // timeout, unless it is the second one.
    let past = timeout.saturating_add(platform.latest(interval));
    Bound::Within {
        least: timeout.max(idle.saturating_add(interval)),
        most: platform
            .latest(after(probes_until(timeout, keepalive)))
            .min(past.max(platform.latest(after(1)))),
    }
}

/// How many probes a user timeout leaves room for, at least one.
pub(crate) fn probes_until(timeout: Duration, keepalive: Keepalive) -> u32 {
    let wait = timeout.saturating_sub(keepalive.idle()).as_millis();
    u32::try_from(wait.div_ceil(keepalive.interval().as_millis().max(1))).unwrap_or(u32::MAX).max(1)
}

/// A bound counts from the first retransmission, which comes one RTO after the data, or up to two where a
/// tail loss probe went before (RFC 8985).
fn in_flight(
    timeout: Option<Duration>,
    rto: Duration,
    ceiling: Known<Duration>,
    platform: &Platform,
) -> Result<Bound, Why> {
    let backoff = match timeout {
        // A ceiling that is not known has cut a measured RTO already; later pauses don't matter here.
        Some(_) if platform.bound.on_time => Backoff::new(rto, ceiling.value().unwrap_or(Duration::MAX)),
        _ => Backoff::new(rto, ceiling.ok()?),
    };
    let rto = backoff.pause(0);
    let started = platform.latest(rto.saturating_mul(2));
    let within = |least, most| Bound::Within { least, most };
    Ok(match (timeout, platform.system) {
        (None, System::Linux) => {
            let (earliest, nominal) = backoff.data_given_up(platform.retries.ok()?);
            within(earliest, platform.latest(nominal.saturating_add(rto)))
        }
        (None, _) => {
            let tries = backoff.elapsed(platform.retries.ok()?.saturating_add(1));
            within(tries, platform.latest(tries.saturating_add(rto)))
        }
        // The last pause is no longer than half of the whole, and only its lateness counts.
        (Some(timeout), _) if platform.bound.on_time => within(
            timeout.saturating_add(rto),
            started.saturating_add(timeout).saturating_add(platform.lateness(timeout / 2 + rto)),
        ),
        (Some(timeout), _) => {
            // Looked at when a retransmission is due; their number may be limited all the same.
            let tries = match platform.bound.replaces_retries {
                true => Duration::MAX,
                false => backoff.elapsed(platform.retries.ok()?.saturating_add(1)),
            };
            let due = platform.latest(backoff.reaching(timeout, 1)).saturating_add(started);
            within(timeout.min(tries), due.min(platform.latest(tries.saturating_add(rto))))
        }
    })
}

/// Window probes are spaced like retransmissions. Their pauses grow while a living peer answers, too, so they
/// may all be the longest when it dies.
fn shut_window(
    timeout: Option<Duration>,
    rto: Duration,
    ceiling: Known<Duration>,
    platform: &Platform,
) -> Result<Bound, Why> {
    if platform.system != System::Linux {
        return Err(Why::NotModelled);
    }
    let (backoff, retries) = (Backoff::new(rto, ceiling.ok()?).of_window_probes(), platform.retries.ok()?);
    let rto = backoff.pause(0);
    let least = backoff.window_given_up(retries);
    let (_, longest) = backoff.window_given_up_after(retries, 0, retries);
    let latest = platform.latest(longest.saturating_add(rto));
    let Some(timeout) = timeout else { return Ok(Bound::Within { least, most: latest }) };
    // Counted from the first look, answered or not; here, too, the last pause is cut. The number of probes
    // still counts.
    let due = platform.latest(rto.saturating_mul(2)).saturating_add(timeout);
    let due = due.saturating_add(platform.lateness(timeout / 2 + rto));
    Ok(Bound::Within { least: timeout.min(least), most: due.min(latest) })
}

/// SYNs leave a second apart at first, then at doubling distance. The attempt ends at the first firing after
/// all retransmissions, or at the first past the user timeout or, without one, past the time that the
/// kernel's model gives `tcp_syn_retries` retransmissions (`tcp_write_timeout`). That model knows no equal
/// pauses, so many of them don't make the attempt last longer.
fn connecting(
    timeout: Option<Duration>,
    ceiling: Known<Duration>,
    platform: &Platform,
) -> Result<Bound, Why> {
    const FIRST: Duration = Duration::from_secs(1); // TCP_TIMEOUT_INIT
    let (doubling, equal) = match platform.connecting {
        Connecting::Retries { doubling, equal: Known::Not(Why::NotOnThisKernel) } => (doubling.ok()?, 0),
        Connecting::Retries { doubling, equal } => (doubling.ok()?, equal.ok()?),
        Connecting::Within { least, most } => return Ok(Bound::Within { least, most }),
    };
    let backoff = Backoff::new(FIRST, ceiling.ok()?);
    let first = backoff.pause(0);
    let limit = timeout.unwrap_or_else(|| backoff.model(doubling)).max(first);
    let pauses = core::iter::repeat_n(first, equal.into()).chain((0..=doubling).map(|n| backoff.pause(n)));
    let (mut previous, mut fired) = (Duration::ZERO, Duration::ZERO);
    for (n, pause) in pauses.enumerate() {
        previous = fired;
        fired = fired.saturating_add(pause);
        // The first firing always retransmits, unless there is nothing else.
        if n > 0 && fired >= limit {
            break;
        }
    }
    if timeout.is_some() && fired >= limit {
        // The last pause is cut; as with data in flight it is half of the whole at most.
        return Ok(Bound::Within {
            least: limit,
            most: limit.saturating_add(platform.lateness(limit / 2 + first)),
        });
    }
    // A firing before it may come so late that it finds the limit passed.
    let least = if platform.latest(previous) < limit { fired } else { fired.min(limit) };
    Ok(Bound::Within { least, most: platform.latest(fired) })
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
    fn connecting_ranges_hold_what_was_measured() {
        // connect() to a deaf address on Linux 6.18: default, TCP_USER_TIMEOUT 3 s, TCP_RTO_MAX_MS 1 s.
        for (timeout, ceiling, seen) in [(0, None, 134_500), (3_000, None, 3_000), (0, Some(1_000), 7_200)] {
            let mut protection = protection(5, 1, 5, timeout);
            protection.rto_max = Known::Is(ceiling.map(Duration::from_millis));
            let predicted = detection(&protection, &Platform::linux(), Duration::from_millis(204));
            let Bound::Within { least, most } = predicted.connecting else { panic!("{predicted:?}") };
            let seen = Duration::from_millis(seen);
            assert!(least <= seen && seen <= most, "{seen:?} not in {least:?}..{most:?}");
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

    #[test]
    fn what_depends_on_an_unknown_default_is_unknown_and_nothing_else() {
        let unknown = Why::UnreadableDefault;
        let bare = protection(5, 1, 5, 0);
        let bounded = protection(5, 1, 5, 9_000);
        let predicted = |protection: &Protection, platform: &Platform| {
            detection(protection, platform, Duration::from_millis(204))
        };
        let whole = Platform::linux();
        let retries = Platform { retries: Known::Not(unknown), ..whole };
        assert_eq!(predicted(&bare, &retries).in_flight, Bound::Unknown(unknown));
        assert_eq!(predicted(&bare, &retries).shut_window, Bound::Unknown(unknown));
        assert_eq!(predicted(&bare, &retries).idle, predicted(&bare, &whole).idle);
        assert_eq!(predicted(&bare, &retries).connecting, predicted(&bare, &whole).connecting);
        assert_eq!(predicted(&bounded, &retries).in_flight, predicted(&bounded, &whole).in_flight);
        let syns = Connecting::Retries { doubling: Known::Not(unknown), equal: Known::Is(4) };
        let syns = Platform { connecting: syns, ..whole };
        assert_eq!(predicted(&bare, &syns).connecting, Bound::Unknown(unknown));
        assert_eq!(predicted(&bare, &syns).in_flight, predicted(&bare, &whole).in_flight);
        let ceiling = Platform { rto_max: Known::Not(unknown), ..whole };
        assert_eq!(predicted(&bare, &ceiling).in_flight, Bound::Unknown(unknown));
        let mut own = bare;
        own.rto_max = Known::Is(Some(Duration::from_secs(2)));
        assert_eq!(predicted(&own, &ceiling), predicted(&own, &whole));
    }

    #[test]
    fn a_kernel_without_equal_pauses_between_syns_has_none() {
        let none = Connecting::Retries { doubling: Known::Is(6), equal: Known::Not(Why::NotOnThisKernel) };
        let zero = Connecting::Retries { doubling: Known::Is(6), equal: Known::Is(0) };
        let connecting = |connecting| {
            let platform = Platform { connecting, ..Platform::linux() };
            detection(&protection(5, 1, 5, 0), &platform, Duration::from_millis(204)).connecting
        };
        assert_eq!(connecting(none), connecting(zero));
        assert!(matches!(connecting(none), Bound::Within { .. }));
    }
}
