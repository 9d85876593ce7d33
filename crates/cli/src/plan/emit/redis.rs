//! redis.conf: one number, from which Redis makes three.

use std::time::Duration;

use deadpeer::{Bound, Keepalive, KeepaliveSeen, Known, Plan, Protection, Span, detection};

use super::{Wanted, Written};
use crate::prose::range;

/// What Redis sets for `tcp-keepalive N`: TCP_KEEPIDLE N, TCP_KEEPINTVL N/3, TCP_KEEPCNT 3
/// (anetKeepAlive in src/anet.c).
fn made_by_redis(seconds: u64) -> Option<Keepalive> {
    Keepalive::new(Duration::from_secs(seconds), Duration::from_secs((seconds / 3).max(1)), 3).ok()
}

pub(super) fn write(wanted: &Wanted<'_>) -> Written {
    let mut written = Written::default();
    let noticed = |seconds| {
        let keepalive = made_by_redis(seconds)?;
        let seen = KeepaliveSeen { enabled: true, values: Known::Is(keepalive) };
        let protection = Protection {
            keepalive: Known::Is(seen),
            user_timeout: Known::Is(None),
            rto_max: Known::Is(None),
        };
        let idle = detection(&protection, wanted.platform, Plan::RTO).idle;
        Some((keepalive, idle))
    };
    let detect = wanted.policy.detection_time();
    let outage = wanted.plan.outage;
    // The last of three probes, two intervals after the first, must come after the outage.
    let survives = |keepalive: Keepalive| keepalive.interval() * 2 > outage;
    let in_time = |bound: Bound| bound.most().is_some_and(|most| most <= detect);
    let idle = u64::try_from(Wanted::seconds(wanted.keepalive.idle())).unwrap_or(u64::MAX);
    let chosen = (1..=idle).rev().find(|seconds| noticed(*seconds).is_some_and(|(_, idle)| in_time(idle)));
    let Some((seconds, (keepalive, idle))) = chosen.and_then(|seconds| Some((seconds, noticed(seconds)?)))
    else {
        written.cannot("keepalive", &format!("no tcp-keepalive notices within {}", Span(detect)));
        return written;
    };
    let made = format!("Redis makes {keepalive} of tcp-keepalive {seconds}, noticing after {}", range(idle));
    written.cannot("TCP_KEEPINTVL and TCP_KEEPCNT", &made);
    if !survives(keepalive) {
        let least = keepalive.interval() * 2;
        written.missing.push(format!(
            "An outage of {} is not survived here: it must be shorter than {}",
            Span(outage),
            Span(least)
        ));
    }
    wanted.without_bounds(&mut written, "Redis");
    written.line(format!("tcp-keepalive {seconds}"));
    written
}
