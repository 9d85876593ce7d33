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
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Unreachable { what: Wish::Detect, wanted: ms(policy.detection_time()), best: ms(best) }
}

/// The longest idle time (it decides the cost) whose probes keep the promise.
///
/// The outage may begin just before the first probe: with n probes, n − 1 intervals must outlast it, so that
/// the last probe before the verdict goes out when the way is open again. And what is in flight must get a
/// retransmission through: those double their distance, so the whole must be longer than twice the outage.
fn keepalive(policy: &Policy, platform: &Platform) -> Result<Keepalive, Unreachable> {
    let unit = platform.keepalive_unit;
    let longest_idle = longest_idle(policy, unit)?;
    let mut best: Option<Keepalive> = None;
    let mut soonest = Duration::MAX;
    for probes in 2..=10u8 {
        let gap = (policy.outage() + Plan::RTO) / u32::from(probes - 1);
        let interval = round_up(gap, unit).max(unit);
        let silence = interval * u32::from(probes);
        let shortest = platform.latest(unit.max(interval) + silence);
        soonest = soonest.min(shortest);
        let Some(room) = fits_within(policy.detection_time(), platform) else { continue };
        let Some(idle) = room.checked_sub(silence).map(|idle| round_down(idle, unit).min(longest_idle))
        else {
            continue;
        };
        if idle < interval.max(unit) || idle + silence < policy.outage() * 2 + Plan::RTO * 2 {
            continue;
        }
        let Ok(candidate) = Keepalive::new(idle, interval, probes) else { continue };
        // At equal idle time the shorter interval (more probes) is preferred: a single lost probe counts
        // for less.
        if best.is_none_or(|best| candidate.idle() >= best.idle()) {
            best = Some(candidate);
        }
    }
    let Some(keepalive) = best else {
        let least = platform.latest(policy.outage() * 2 + Plan::RTO * 4);
        return Err(unreachable_detection(policy, soonest.max(least)));
    };
    match policy.bytes_per_day() {
        Some(budget) if cost(keepalive) > budget => {
            Err(Unreachable { what: Wish::BytesPerDay, wanted: budget, best: cost(keepalive) })
        }
        _ => Ok(keepalive),
    }
}

/// The longest nominal time whose latest end, with the delays of data in flight, is still in time.
fn fits_within(detect: Duration, platform: &Platform) -> Option<Duration> {
    let delays = platform.latest(Plan::RTO * 2);
    let nominal = detect.checked_sub(delays)?;
    Some(nominal - nominal / 9) // the inverse of an eighth more
}

/// Something must be sent before a mapping on the way is forgotten, even by a late timer.
fn longest_idle(policy: &Policy, unit: Duration) -> Result<Duration, Unreachable> {
    let Some(mapping) = policy.mapping_timeout() else { return Ok(Keepalive::LONGEST) };
    let idle = round_down((mapping - mapping / 9).saturating_sub(unit), unit);
    if idle < unit {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        return Err(Unreachable { what: Wish::MappingTimeout, wanted: ms(mapping), best: ms(unit * 3) });
    }
    Ok(idle)
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
