//! From what is wanted to what to set.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::detection::{Bound, Detection, detection};
use crate::known::{Known, Why};
use crate::platform::Platform;
use crate::policy::Policy;
use crate::protection::{KeepaliveSeen, Protection};
use crate::settings::{Keepalive, Set, Settings};
use crate::text::Span;

/// Settings that keep a policy's promise, and what they lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// What to tell the socket.
    pub settings: Settings,
    /// The detection times that follow, at an RTO of [`Plan::RTO`].
    pub detection: Detection,
    /// What an idle connection costs a day: probes and answers as IPv6 packets with timestamps.
    pub bytes_per_day: u64,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// The retransmission timeout that a plan allows for: a round trip of up to some 300 ms.
    pub const RTO: Duration = Duration::from_millis(500);
    /// A probe and its answer: 40 bytes of IPv6, 20 of TCP, 12 of timestamps, both ways.
    pub const PROBE_BYTES: u64 = 2 * (40 + 20 + 12);
}

/// A consequence of a plan that its user should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A peer that lives but keeps its window shut this long is given up.
    UserTimeoutKillsSlowReader {
        /// The user timeout.
        after: Duration,
    },
    /// With data in flight a death is noticed later than wanted: this system has nothing better that
    /// spares slow readers.
    InFlightUnbounded {
        /// When it is noticed then.
        within: Duration,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserTimeoutKillsSlowReader { after } => {
                write!(
                    f,
                    "a living peer that reads nothing for {} is given up (TCP_USER_TIMEOUT)",
                    Span(*after)
                )
            }
            Self::InFlightUnbounded { within } => {
                write!(f, "with data in flight a death is noticed only after up to {}", Span(*within))
            }
        }
    }
}

/// A policy that no settings keep: what was wanted, and the best that is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Which of the policy's wishes.
    pub what: Wish,
    /// What was wanted, in milliseconds or bytes.
    pub wanted: u64,
    /// The best that is possible, in the same unit.
    pub best: u64,
}

/// One wish of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wish {
    /// The detection time, milliseconds.
    Detect,
    /// The cost of an idle connection, bytes a day.
    BytesPerDay,
    /// The idle timeout of a middlebox, milliseconds.
    MappingTimeout,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, best) = (self.wanted, self.best);
        let span = |ms| Span(Duration::from_millis(ms));
        match self.what {
            Wish::Detect => write!(
                f,
                "a death can't be noticed within {}: the best that survives the outage is {}",
                span(wanted),
                span(best)
            ),
            Wish::BytesPerDay => {
                write!(f, "{wanted} bytes a day are not enough: the detection time needs {best} at least")
            }
            Wish::MappingTimeout => write!(
                f,
                "an idle timeout of {} on the way can't be kept open: the shortest that can is {}",
                span(wanted),
                span(best)
            ),
        }
    }
}

impl core::error::Error for Unreachable {}

pub(crate) fn plan(policy: &Policy, platform: &Platform) -> Result<Plan, Unreachable> {
    let keepalive = keepalive(policy, platform)?;
    let mut settings =
        Settings { keepalive: Set::To(keepalive), user_timeout: Set::Off, rto_max: Set::Leave };
    if policy.slow_readers() {
        settings.rto_max = rto_ceiling(policy, platform, &settings);
    } else {
        // The same moment as the last probe's: the user timeout replaces the probe count.
        let silence = keepalive.interval() * u32::from(keepalive.probes());
        settings.user_timeout = Set::To(keepalive.idle() + silence);
    }
    let detection = detection(&protection_of(&settings), platform, Plan::RTO);
    let mut warnings = Vec::new();
    if let Set::To(after) = settings.user_timeout {
        warnings.push(Warning::UserTimeoutKillsSlowReader { after });
    }
    if let Bound::Within { most, .. } = detection.in_flight
        && most > policy.detection_time()
    {
        if policy.slow_readers() {
            warnings.push(Warning::InFlightUnbounded { within: most });
        } else {
            return Err(unreachable_detection(policy, most));
        }
    }
    Ok(Plan { settings, detection, bytes_per_day: cost(keepalive), warnings })
}

fn unreachable_detection(policy: &Policy, best: Duration) -> Unreachable {
    Unreachable { what: Wish::Detect, wanted: millis(policy.detection_time()), best: millis(best) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The keepalive that keeps the promise, or which wish makes that impossible.
fn keepalive(policy: &Policy, platform: &Platform) -> Result<Keepalive, Unreachable> {
    let unit = platform.keepalive_unit;
    let Some(keepalive) = best_keepalive(policy, platform, policy.mapping_timeout()) else {
        return Err(match policy.mapping_timeout() {
            Some(mapping) if best_keepalive(policy, platform, None).is_some() => {
                unreachable_mapping(policy, platform, mapping)
            }
            _ => {
                let shortest = (2..=Keepalive::MOST_PROBES)
                    .map(|probes| interval(policy, unit, probes, Keepalive::LONGEST))
                    .zip(2u32..)
                    .map(|(interval, probes)| platform.latest(interval + interval * probes))
                    .min()
                    .unwrap_or(Duration::MAX);
                let in_flight = platform.latest(policy.outage() * 2 + Plan::RTO * 4);
                let here = policy.detection_time() + Duration::from_millis(1);
                unreachable_detection(policy, shortest.max(in_flight).max(here))
            }
        });
    };
    match policy.bytes_per_day() {
        Some(budget) if cost(keepalive) > budget => {
            Err(Unreachable { what: Wish::BytesPerDay, wanted: budget, best: cost(keepalive) })
        }
        _ => Ok(keepalive),
    }
}

/// The longest idle time (it decides the cost) whose probes keep the promise; up to ten probes if that
/// will do.
fn best_keepalive(policy: &Policy, platform: &Platform, mapping: Option<Duration>) -> Option<Keepalive> {
    let unit = platform.keepalive_unit;
    let longest = mapping.map_or(Keepalive::LONGEST, |mapping| longest_idle(mapping, platform));
    let room = fits_within(policy.detection_time(), platform)?;
    let candidate = |probes: u8| {
        let interval = interval(policy, unit, probes, longest);
        let silence = interval * u32::from(probes);
        let idle = round_down(room.checked_sub(silence)?, unit).min(longest);
        // A living peer's next probe comes after the longer of the two.
        let in_order = idle >= interval && interval <= longest;
        let in_flight = idle + silence >= outlasts_in_flight(policy);
        if in_order && in_flight { Keepalive::new(idle, interval, probes).ok() } else { None }
    };
    // At equal idle time more probes are preferred: a single lost one counts for less.
    let best = |range: core::ops::RangeInclusive<u8>| range.filter_map(candidate).max_by_key(|k| k.idle());
    best(2..=10).or_else(|| best(11..=Keepalive::MOST_PROBES))
}

/// The distance of `probes` probes that outlast the outage.
///
/// It may begin just before the first probe: with n probes, n − 1 intervals must outlast it, so that the
/// last probe before the verdict goes out when the way is open again. And what is in flight must outlast it,
/// too, even after the longest idle time.
fn interval(policy: &Policy, unit: Duration, probes: u8, longest_idle: Duration) -> Duration {
    let idle_outage = (policy.outage() + Plan::RTO) / u32::from(probes - 1);
    let in_flight = outlasts_in_flight(policy).saturating_sub(longest_idle) / u32::from(probes);
    round_up(idle_outage.max(in_flight), unit).max(unit)
}

/// Retransmissions double their distance, so the bound on data in flight must be longer than twice the
/// outage for one of them to come after it.
fn outlasts_in_flight(policy: &Policy) -> Duration {
    policy.outage() * 2 + Plan::RTO * 2
}

fn unreachable_mapping(policy: &Policy, platform: &Platform, wanted: Duration) -> Unreachable {
    // The shortest timeout that can be kept open, to the unit: by halving.
    let (mut too_short, mut enough) = (wanted, policy.detection_time().max(wanted * 2));
    while enough > too_short + platform.keepalive_unit {
        let middle = too_short + (enough - too_short) / 2;
        match best_keepalive(policy, platform, Some(middle)) {
            Some(_) => enough = middle,
            None => too_short = middle,
        }
    }
    Unreachable { what: Wish::MappingTimeout, wanted: millis(wanted), best: millis(enough) }
}

/// The longest nominal time whose latest end, with the delays of data in flight, is still in time.
fn fits_within(detect: Duration, platform: &Platform) -> Option<Duration> {
    let delays = platform.latest(Plan::RTO * 2);
    let nominal = detect.checked_sub(delays)?;
    Some(nominal - nominal / 9) // the inverse of an eighth more
}

/// Something must be sent before a mapping on the way is forgotten, even by a late timer. Zero when the
/// mapping is too short for any.
fn longest_idle(mapping: Duration, platform: &Platform) -> Duration {
    round_down((mapping - mapping / 9).saturating_sub(platform.keepalive_unit), platform.keepalive_unit)
}

/// The largest RTO ceiling that keeps the promise with data in flight; it spares slow readers.
fn rto_ceiling(policy: &Policy, platform: &Platform, settings: &Settings) -> Set<Duration> {
    const LEAST_SECS: u64 = 1;
    const MOST_SECS: u64 = 120;
    if !platform.rto_max_per_socket {
        return Set::Leave;
    }
    let in_time = |seconds: u64| {
        let settings = Settings { rto_max: Set::To(Duration::from_secs(seconds)), ..*settings };
        let predicted = detection(&protection_of(&settings), platform, Plan::RTO);
        matches!(predicted.in_flight, Bound::Within { most, .. } if most <= policy.detection_time())
    };
    let ceiling = (LEAST_SECS..=MOST_SECS).rev().find(|&seconds| in_time(seconds));
    Set::To(Duration::from_secs(ceiling.unwrap_or(LEAST_SECS)))
}

/// What a socket has when it took all of `settings`.
fn protection_of(settings: &Settings) -> Protection {
    let on = |set: Set<Duration>| match set {
        Set::To(duration) => Some(duration),
        Set::Off | Set::Leave => None,
    };
    let keepalive = match settings.keepalive {
        Set::To(values) => KeepaliveSeen { enabled: true, values: Known::Is(values) },
        Set::Off | Set::Leave => KeepaliveSeen { enabled: false, values: Known::Not(Why::KeepaliveOff) },
    };
    Protection {
        keepalive: Known::Is(keepalive),
        user_timeout: Known::Is(on(settings.user_timeout)),
        rto_max: Known::Is(on(settings.rto_max)),
    }
}

/// Bytes a day of an idle connection: one probe and its answer per idle time, or per interval where that is
/// longer.
fn cost(keepalive: Keepalive) -> u64 {
    const DAY_MS: u64 = 86_400_000;
    let period = keepalive.idle().max(keepalive.interval()).as_millis();
    DAY_MS.div_ceil(u64::try_from(period).unwrap_or(u64::MAX).max(1)) * Plan::PROBE_BYTES
}

fn round_up(duration: Duration, unit: Duration) -> Duration {
    let whole = round_down(duration, unit);
    if whole < duration { whole + unit } else { whole }
}

fn round_down(duration: Duration, unit: Duration) -> Duration {
    let units = duration.as_nanos() / unit.as_nanos().max(1);
    unit.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX))
}
