//! The search for settings: candidates are made by rules and checked by the formulas themselves.

use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::rules::{interval, least_bound, outlasts_in_flight, round_up, wanted_interval};
use super::words::Rounded;
use super::{Plan, Unreachable, Wish, cost, millis};
use crate::detection::{Bound, Detection, detection, probes_until};
use crate::known::Known;
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
    if let Some(found) = affordable(policy, platform) {
        return found.surviving(policy, platform);
    }
    let found = counts(platform).into_iter().filter_map(|counts| rarest(policy, platform, counts));
    let cheapest = found.map(|found| cost(found.keepalive)).min();
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

/// The settings with the rarest probes, if the budget allows for them.
fn affordable(policy: &Policy, platform: &Platform) -> Option<Found> {
    let affordable = |found: &Found| policy.bytes_per_day().is_none_or(|most| cost(found.keepalive) <= most);
    counts(platform)
        .into_iter()
        .find_map(|counts| rarest(policy, platform, counts).filter(affordable))
        .map(|found| found.with_rto_ceiling(policy, platform))
}

/// The numbers of probes to try: up to ten if that will do, since fewer packets go into silence then.
fn counts(platform: &Platform) -> [RangeInclusive<u8>; 2] {
    match platform.fixed_probes {
        Some(probes) => [probes..=probes, probes..=probes],
        None => [2..=10, 11..=Keepalive::MOST_PROBES],
    }
}

/// Where nobody asked for an outage to be survived: settings that survive the longest that can be, by
/// halving; and the policy with it.
pub(super) fn with_usual_outage(policy: &Policy, platform: &Platform) -> Option<(Found, Policy)> {
    let with = |outage: u64| {
        let policy = policy.with_usual_outage(Duration::from_millis(outage))?;
        let found = affordable(&policy, platform).filter(|found| found.outlasts(policy.outage(), platform));
        found.map(|found| (found, policy))
    };
    let mut longest = with(0)?;
    let (mut survived, mut too_long) = (0, millis(policy.outage()));
    while too_long > survived + 1 {
        let middle = survived + (too_long - survived) / 2;
        match with(middle) {
            Some(better) => (longest, survived) = (better, middle),
            None => too_long = middle,
        }
    }
    Some(longest)
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

    /// Whether a death is noticed in time: idle, and where these settings bound that with data in flight and,
    /// as far as it is known, with the window shut.
    fn in_time(&self, policy: &Policy, platform: &Platform) -> bool {
        let detection = self.detection(platform);
        let bounded = self.bound.is_some() || self.rto_max.is_some();
        let within = |bound: Bound| bound.most().is_some_and(|most| most <= policy.detection_time());
        let shut = detection.shut_window;
        let shut_in_time = matches!(shut, Bound::Unknown(_)) || within(shut);
        within(detection.idle) && (!bounded || (within(detection.in_flight) && shut_in_time))
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

    /// For slow readers, where the policy accepts it: the largest RTO ceiling that keeps the promise with data waiting, or else the smallest
    /// that survives the outage.
    fn with_rto_ceiling(self, policy: &Policy, platform: &Platform) -> Self {
        const LEAST_SECS: u64 = 1;
        const MOST_SECS: u64 = 120;
        let possible = platform.rto_max_per_socket && platform.retries.why().is_none();
        if self.bound.is_some() || !possible || !policy.accepts_rto_ceiling() {
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
        let ceiling = self.rto_max.map_or(platform.rto_max, Known::Is);
        let (Known::Is(ceiling), Known::Is(retries)) = (ceiling, platform.retries) else {
            return true; // not known: `Warning::DefaultUnknown`
        };
        let earliest = match platform.system {
            System::Linux => Backoff::new(Plan::RTO, ceiling).data_given_up(retries).0,
            // Counted: they are over the sooner, the shorter the round trip.
            _ => Backoff::new(Duration::from_millis(200), ceiling).elapsed(retries.saturating_add(1)),
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
