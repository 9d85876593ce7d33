//! The search for settings: candidates are made by rules and checked by the formulas themselves.

use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::words::Rounded;
use super::{Plan, Unreachable, Wish, cost, millis};
use crate::detection::{Bound, Detection, detection, probes_until};
use crate::platform::{Platform, System};
use crate::policy::Policy;
use crate::protection::Protection;
use crate::retransmission::Backoff;
use crate::settings::{Keepalive, Set, Settings};

/// Settings that keep a policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) keepalive: Keepalive,
    bound: Option<Duration>,
    rto_max: Option<Duration>,
}

/// The best settings for a policy: the rarest probes; or which wish makes it impossible.
pub(super) fn best(policy: &Policy, platform: &Platform) -> Result<Found, Unreachable> {
    // Up to ten probes if that will do: at equal cost fewer packets into silence.
    let (usual, many) = match platform.fixed_probes {
        Some(probes) => (probes..=probes, probes..=probes),
        None => (2..=10, 11..=Keepalive::MOST_PROBES),
    };
    let affordable = |found: &Found| policy.bytes_per_day().is_none_or(|most| cost(found.keepalive) <= most);
    let usual = rarest(policy, platform, usual);
    if let Some(found) = usual.filter(affordable) {
        return found.with_rto_ceiling(policy, platform).surviving(policy, platform);
    }
    let many = rarest(policy, platform, many);
    if let Some(found) = many.filter(affordable) {
        return found.with_rto_ceiling(policy, platform).surviving(policy, platform);
    }
    let cheapest = usual.into_iter().chain(many).map(|found| cost(found.keepalive)).min();
    Err(match (cheapest, policy.bytes_per_day(), policy.mapping_timeout()) {
        (Some(best), Some(wanted), _) => Unreachable { what: Wish::BytesPerDay, wanted, best },
        (_, _, Some(mapping)) if feasible(&policy.without_mapping(), platform) => {
            let with = |mapping| policy.with_mapping(mapping);
            let best = least_feasible(mapping, with, platform);
            Unreachable { what: Wish::MappingTimeout, wanted: millis(mapping), best }
        }
        _ => {
            let alone = policy.without_mapping();
            let wanted = policy.detection_time();
            let best = least_feasible(wanted, |detect| alone.with_detect(detect), platform);
            Unreachable { what: Wish::Detect, wanted: millis(wanted), best }
        }
    })
}

/// The least value above `too_short` with which there is a plan, in milliseconds, by doubling and halving;
/// [`u64::MAX`] where there is none.
fn least_feasible(too_short: Duration, with: impl Fn(Duration) -> Policy, platform: &Platform) -> u64 {
    const CENTURIES: u64 = 1 << 43;
    let feasible = |ms: u64| feasible(&with(Duration::from_millis(ms)), platform);
    let mut below = millis(too_short);
    let mut enough = below.max(1);
    while !feasible(enough) {
        if enough > CENTURIES {
            return u64::MAX;
        }
        below = enough;
        enough *= 2;
    }
    while enough > below + 1 {
        let middle = below + (enough - below) / 2;
        match feasible(middle) {
            true => enough = middle,
            false => below = middle,
        }
    }
    enough
}

/// Whether there are settings, whatever they cost.
fn feasible(policy: &Policy, platform: &Platform) -> bool {
    let (least, most) = platform.fixed_probes.map_or((2, Keepalive::MOST_PROBES), |fixed| (fixed, fixed));
    // The shortest idle time is the easiest.
    (least..=most).rev().any(|probes| {
        let interval = interval(policy, platform, probes);
        candidate(policy, platform, probes, interval).is_some()
    })
}

/// The settings with the longest idle time, which decides the cost.
fn rarest(policy: &Policy, platform: &Platform, probes: RangeInclusive<u8>) -> Option<Found> {
    // At equal idle time more probes are preferred: a single lost one counts for less.
    probes
        .filter_map(|probes| with_probes(policy, platform, probes))
        .max_by_key(|found| found.keepalive.idle())
}

/// The longest idle time for so many probes, by halving: a longer one is never easier.
fn with_probes(policy: &Policy, platform: &Platform, probes: u8) -> Option<Found> {
    let unit = platform.keepalive_unit;
    let interval = interval(policy, platform, probes);
    let mut found = candidate(policy, platform, probes, interval)?;
    let longest = policy.detection_time().min(Keepalive::LONGEST);
    let longest = policy.mapping_timeout().map_or(longest, |mapping| longest.min(mapping));
    let units = |duration: Duration| duration.as_nanos() / unit.as_nanos().max(1);
    let (mut fits, mut too_long) = (units(interval), units(longest) + 1);
    while too_long > fits + 1 {
        let middle = fits + (too_long - fits) / 2;
        let idle = unit.saturating_mul(u32::try_from(middle).unwrap_or(u32::MAX));
        match candidate(policy, platform, probes, idle) {
            Some(longer) => (found, fits) = (longer, middle),
            None => too_long = middle,
        }
    }
    Some(found)
}

/// Settings with these probes and this idle time, if they keep the policy.
fn candidate(policy: &Policy, platform: &Platform, probes: u8, idle: Duration) -> Option<Found> {
    let keepalive = Keepalive::new(idle, interval(policy, platform, probes), probes).ok()?;
    // Something must be sent before a mapping on the way is forgotten, even by a late timer.
    if policy.mapping_timeout().is_some_and(|mapping| platform.latest(idle) >= mapping) {
        return None;
    }
    let bare = Found { keepalive, bound: None, rto_max: None };
    if policy.slow_readers() && platform.bound.ends_slow_readers {
        return bare.in_time(policy, platform).then_some(bare);
    }
    let (unit, needed) = (platform.bound.unit, least_bound(policy, platform, keepalive));
    // The moment of the last probe, or a part of it where retransmissions are looked at late, or what is
    // needed; a whole number of seconds, if that will do: the first that is in time.
    let silent = idle + keepalive.interval() * u32::from(probes);
    [silent, silent / 4 * 3, silent / 2, silent / 3, needed]
        .into_iter()
        .map(|bound| bound.max(needed))
        .flat_map(|bound| [round_up(bound, Duration::from_secs(1)), round_up(bound, unit)])
        .filter(|bound| *bound <= platform.bound.longest)
        .map(|bound| Found { bound: Some(bound), ..bare })
        .find(|found| found.in_time(policy, platform))
        .map(|found| found.with_count_of_bound(policy, platform))
}

/// The distance of `probes` probes that outlast the outage.
///
/// It may begin just before the first probe: with n probes, n − 1 intervals must outlast it, so that the
/// last probe before the verdict goes out when the way is open again, with an RTO to spare for its answer.
fn interval(policy: &Policy, platform: &Platform, probes: u8) -> Duration {
    round_up(wanted_interval(policy, probes), platform.keepalive_unit)
}

/// Before it is rounded up.
///
/// Linux answers one empty segment in 500 ms (`tcp_invalid_ratelimit` in ip-sysctl.rst): closer probes would
/// go unanswered by a living peer.
fn wanted_interval(policy: &Policy, probes: u8) -> Duration {
    const ANSWERED: Duration = Duration::from_millis(600);
    let outlasting = policy.outage().saturating_add(Plan::RTO) / u32::from(probes.max(2) - 1);
    outlasting.max(ANSWERED)
}

/// The least bound on unacknowledged data that survives the outage.
fn least_bound(policy: &Policy, platform: &Platform, keepalive: Keepalive) -> Duration {
    let in_flight = outlasts_in_flight(policy.outage(), platform, Duration::MAX);
    if !platform.bound.replaces_probe_count {
        return in_flight;
    }
    // The first probe may come late, the outage begin just before it. One more probe must leave after the
    // outage, at most an interval later, and have an RTO for its answer before anybody looks at the bound.
    let first = platform.latest(keepalive.idle());
    let next = platform.latest(keepalive.interval());
    in_flight.max(first.saturating_add(next).saturating_add(policy.outage()).saturating_add(Plan::RTO))
}

/// How long after the first retransmission the next one after the outage has its answer.
///
/// Pauses double: the last one that begins during the outage is shorter than the outage and two RTOs, and
/// than the ceiling.
fn outlasts_in_flight(outage: Duration, platform: &Platform, ceiling: Duration) -> Duration {
    let pause = outage.saturating_add(Plan::RTO * 2).min(ceiling);
    outage.saturating_add(platform.latest(pause)).saturating_add(Plan::RTO)
}

impl Found {
    pub(super) fn settings(&self) -> Settings {
        Settings {
            keepalive: Set::To(self.keepalive),
            user_timeout: self.bound.map_or(Set::Off, Set::To),
            rto_max: self.rto_max.map_or(Set::Leave, Set::To),
        }
    }

    pub(super) fn detection(&self, platform: &Platform) -> Detection {
        detection(&Protection::of(&self.settings()), platform, Plan::RTO)
    }

    /// Whether a death is noticed in time: idle, and in flight where these settings bound that.
    fn in_time(&self, policy: &Policy, platform: &Platform) -> bool {
        let detection = self.detection(platform);
        let bounded = self.bound.is_some() || self.rto_max.is_some();
        let within = |bound| matches!(bound, Bound::Within { most, .. } if most <= policy.detection_time());
        within(detection.idle) && (!bounded || within(detection.in_flight))
    }

    /// Where the bound replaces the probe count, the count that leads to the same moment, if that is in time:
    /// it counts where only keepalive can be set.
    fn with_count_of_bound(self, policy: &Policy, platform: &Platform) -> Self {
        let Some(bound) = self.bound.filter(|_| platform.bound.replaces_probe_count) else { return self };
        let keepalive = u8::try_from(probes_until(bound, self.keepalive))
            .ok()
            .and_then(|probes| Keepalive::new(self.keepalive.idle(), self.keepalive.interval(), probes).ok());
        let alone = |keepalive| Self { keepalive, bound: None, rto_max: None };
        keepalive
            .filter(|keepalive| keepalive.probes() > self.keepalive.probes())
            .filter(|keepalive| alone(*keepalive).in_time(policy, platform))
            .map_or(self, |keepalive| Self { keepalive, ..self })
    }

    /// For slow readers: the largest RTO ceiling that keeps the promise with data in flight, or else the
    /// smallest that survives the outage.
    fn with_rto_ceiling(self, policy: &Policy, platform: &Platform) -> Self {
        const LEAST_SECS: u64 = 1;
        const MOST_SECS: u64 = 120;
        if self.bound.is_some() || !platform.rto_max_per_socket {
            return self;
        }
        let with = |ceiling| Self { rto_max: Some(ceiling), ..self };
        let mut survivors = (LEAST_SECS..=MOST_SECS)
            .map(Duration::from_secs)
            .filter(|ceiling| with(*ceiling).outlasts(policy.outage(), platform));
        let smallest = survivors.next();
        let in_time = smallest
            .into_iter()
            .chain(survivors)
            .take_while(|ceiling| with(*ceiling).in_time(policy, platform))
            .last();
        in_time.or(smallest).map_or(self, with)
    }

    /// Whether data in flight outlasts an outage by the number of its retransmissions, where that counts.
    fn outlasts(&self, outage: Duration, platform: &Platform) -> bool {
        if self.bound.is_some() && platform.bound.replaces_retries {
            return true;
        }
        let ceiling = self.rto_max.unwrap_or(platform.rto_max);
        let earliest = match platform.system {
            System::Linux => Backoff::new(Plan::RTO, ceiling).data_given_up(platform.retries).0,
            // Counted: they are over the sooner, the shorter the round trip.
            _ => {
                Backoff::new(Duration::from_millis(200), ceiling).elapsed(platform.retries.saturating_add(1))
            }
        };
        earliest > outlasts_in_flight(outage, platform, ceiling).saturating_add(Plan::RTO)
    }

    /// Itself, or the longest outage that this system's retransmissions outlast.
    fn surviving(self, policy: &Policy, platform: &Platform) -> Result<Self, Unreachable> {
        if self.outlasts(policy.outage(), platform) {
            return Ok(self);
        }
        let (mut outlasted, mut too_long) = (0, millis(policy.outage()));
        while too_long > outlasted + 1 {
            let middle = outlasted + (too_long - outlasted) / 2;
            match self.outlasts(Duration::from_millis(middle), platform) {
                true => outlasted = middle,
                false => too_long = middle,
            }
        }
        Err(Unreachable { what: Wish::Outage, wanted: millis(policy.outage()), best: outlasted })
    }

    /// What the system's units made longer than it had to be.
    pub(super) fn rounded(&self, policy: &Policy, platform: &Platform) -> Vec<Rounded> {
        let mut rounded = Vec::new();
        let taken = self.keepalive.interval();
        let wanted = wanted_interval(policy, self.keepalive.probes());
        if wanted < taken {
            let (what, unit) = ("keepalive interval", platform.keepalive_unit);
            rounded.push(Rounded { what, wanted, taken, unit });
        }
        if let Some(taken) = self.bound {
            let wanted = least_bound(policy, platform, self.keepalive);
            let unit = platform.bound.unit.max(Duration::from_secs(1));
            if wanted + Duration::from_millis(1) <= taken && taken - wanted < unit {
                rounded.push(Rounded { what: platform.bound.option, wanted, taken, unit });
            }
        }
        rounded
    }
}

fn round_up(duration: Duration, unit: Duration) -> Duration {
    let units = duration.as_nanos().div_ceil(unit.as_nanos().max(1));
    unit.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX))
}
