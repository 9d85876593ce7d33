//! What an outage demands of settings.

use core::time::Duration;

use super::Plan;
use crate::platform::Platform;
use crate::policy::Policy;
use crate::settings::Keepalive;

/// The distance of `probes` probes that outlast the outage.
///
/// It may begin just before the first probe: with n probes, n − 1 intervals must outlast it, so that the
/// last probe before the verdict goes out when the way is open again, with an RTO to spare for its answer.
pub(super) fn interval(policy: &Policy, platform: &Platform, probes: u8) -> Duration {
    round_up(wanted_interval(policy, probes), platform.keepalive_unit)
}

/// Before it is rounded up.
///
/// Linux answers one empty segment in 500 ms (`tcp_invalid_ratelimit` in ip-sysctl.rst): closer probes would
/// go unanswered by a living peer.
pub(super) fn wanted_interval(policy: &Policy, probes: u8) -> Duration {
    const ANSWERED: Duration = Duration::from_millis(600);
    let outlasting = policy.outage().saturating_add(Plan::RTO) / u32::from(probes.max(2) - 1);
    outlasting.max(ANSWERED)
}

/// The least bound on unacknowledged data that survives the outage.
pub(super) fn least_bound(policy: &Policy, platform: &Platform, keepalive: Keepalive) -> Duration {
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
pub(super) fn outlasts_in_flight(outage: Duration, platform: &Platform, ceiling: Duration) -> Duration {
    let pause = outage.saturating_add(Plan::RTO * 2).min(ceiling);
    outage.saturating_add(platform.latest(pause)).saturating_add(Plan::RTO)
}

/// In whole units.
pub(super) fn round_up(duration: Duration, unit: Duration) -> Duration {
    let units = duration.as_nanos().div_ceil(unit.as_nanos().max(1));
    unit.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX))
}
