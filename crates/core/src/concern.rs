//! What is wrong with a socket's settings, measured by what is wanted of it.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::detection::{Bound, detection, probes_until};
use crate::known::{Known, Why};
use crate::plan::Plan;
use crate::platform::Platform;
use crate::policy::Policy;
use crate::protection::Protection;
use crate::text::Span;

/// One thing that is wrong, or to be known. `Display` says it in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concern {
    /// The settings can't be read.
    Unread(Why),
    /// Keepalive is off.
    KeepaliveOff {
        /// Whether a user timeout is set, which then helps only with data in flight.
        user_timeout: bool,
    },
    /// An idle connection's peer dies unnoticed for longer than wanted.
    IdleTooLate {
        /// When it is noticed at the latest.
        most: Duration,
        /// What is wanted.
        wanted: Duration,
    },
    /// With data in flight a death is unnoticed for longer than wanted.
    InFlightTooLate {
        /// When it is noticed at the latest.
        most: Duration,
        /// What is wanted.
        wanted: Duration,
    },
    /// With the peer's window shut a death is unnoticed for longer than wanted, though not with data in flight.
    ShutWindowTooLate {
        /// When it is noticed at the latest.
        most: Duration,
        /// What is wanted.
        wanted: Duration,
    },
    /// The verdict falls sooner after the first probe than an outage that must be survived ends.
    Impatient {
        /// How long after the first probe.
        gives_up: Duration,
        /// The outage.
        outage: Duration,
    },
    /// The user timeout replaces the probe count.
    CountIgnored {
        /// What the count says.
        probes: u8,
        /// How many probes the user timeout leaves room for.
        effective: u32,
    },
    /// The user timeout ends connections to slow readers.
    SlowReaderEnds {
        /// After this time.
        after: Duration,
        /// Whether such peers were said to be.
        expected: bool,
    },
    /// A middlebox forgets the connection before the first probe.
    Forgotten {
        /// Its idle timeout.
        timeout: Duration,
        /// When the first probe leaves at the latest.
        first: Duration,
    },
}

impl Concern {
    /// Its name for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unread(_) => "unread",
            Self::KeepaliveOff { .. } => "keepalive-off",
            Self::IdleTooLate { .. } => "idle-too-late",
            Self::InFlightTooLate { .. } => "in-flight-too-late",
            Self::ShutWindowTooLate { .. } => "shut-window-too-late",
            Self::Impatient { .. } => "impatient",
            Self::CountIgnored { .. } => "count-ignored",
            Self::SlowReaderEnds { .. } => "slow-reader-ends",
            Self::Forgotten { .. } => "forgotten",
        }
    }

    /// Whether the policy is not kept: a death is noticed too late, an outage may end a healthy connection, or a
    /// peer that must live is ended. What can't be read is no proof of that.
    pub const fn breaks_policy(&self) -> bool {
        match self {
            Self::KeepaliveOff { .. }
            | Self::IdleTooLate { .. }
            | Self::InFlightTooLate { .. }
            | Self::ShutWindowTooLate { .. }
            | Self::Impatient { .. }
            | Self::SlowReaderEnds { expected: true, .. }
            | Self::Forgotten { .. } => true,
            Self::Unread(_) | Self::CountIgnored { .. } | Self::SlowReaderEnds { expected: false, .. } => {
                false
            }
        }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unread(why) => write!(f, "How long a death goes unnoticed is not known: {why}."),
            Self::KeepaliveOff { user_timeout: false } => {
                f.write_str("Keepalive is off: while the connection is idle, a death is never noticed.")
            }
            Self::KeepaliveOff { user_timeout: true } => f.write_str(
                "Keepalive is off: while the connection is idle, a death is never noticed. The user timeout \
                 alone acts only on data in flight.",
            ),
            Self::IdleTooLate { most, wanted } => write!(
                f,
                "While idle, a death is noticed only after up to {}, not within {}.",
                Span(most).rounded_up(),
                Span(wanted)
            ),
            Self::InFlightTooLate { most, wanted } => write!(
                f,
                "With data in flight, a death is noticed only after up to {}, not within {}: keepalive does \
                 nothing while data waits for its acknowledgement.",
                Span(most).rounded_up(),
                Span(wanted)
            ),
            Self::ShutWindowTooLate { most, wanted } => write!(
                f,
                "Where the peer has kept its window shut, its death is noticed only after up to {}, not within \
                 {}: the pauses between window probes grow while it lives.",
                Span(most).rounded_up(),
                Span(wanted)
            ),
            Self::Impatient { gives_up, outage } => write!(
                f,
                "It is given up {} after the first probe: an outage of {} may end a healthy connection.",
                Span(gives_up),
                Span(outage)
            ),
            Self::CountIgnored { probes, effective } => write!(
                f,
                "The user timeout replaces the probe count: {effective} probes leave before it ends, not \
                 {probes}."
            ),
            Self::SlowReaderEnds { after, expected } => write!(
                f,
                "The user timeout also ends it when the peer lives but reads nothing for {}{}.",
                Span(after),
                if expected { ", and slow readers are expected" } else { "" }
            ),
            Self::Forgotten { timeout, first } => write!(
                f,
                "Something on the way forgets it after {} without traffic; the first probe may leave after \
                 {}.",
                Span(timeout),
                Span(first).rounded_up()
            ),
        }
    }
}

/// What is wrong with `protection` where `policy` is wanted, the worst first.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::{Concern, Known, KeepaliveSeen, Platform, Policy, Protection, Why, concerns};
///
/// let nothing = Protection {
///     keepalive: Known::Is(KeepaliveSeen { enabled: false, values: Known::Not(Why::KeepaliveOff) }),
///     user_timeout: Known::Is(None),
///     rto_max: Known::Is(None),
/// };
/// let policy = Policy::detect(Duration::from_secs(30)).build()?;
/// let wrong = concerns(&nothing, &Platform::linux(), Duration::from_millis(204), &policy);
/// assert_eq!(wrong[0], Concern::KeepaliveOff { user_timeout: false });
/// assert!(wrong[1].to_string().starts_with("With data in flight, a death is noticed only after"));
/// # Ok::<(), deadpeer_core::Contradiction>(())
/// ```
pub fn concerns(
    protection: &Protection,
    platform: &Platform,
    rto: Duration,
    policy: &Policy,
) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let predicted = detection(protection, platform, rto);
    let wanted = policy.detection_time();
    let timeout = protection.user_timeout.value().flatten();
    if let (Bound::Unknown(why), _) | (_, Bound::Unknown(why)) = (predicted.in_flight, predicted.idle) {
        concerns.push(Concern::Unread(why));
    }
    let too_late = |bound: Bound| bound.most().filter(|most| *most > wanted);
    if predicted.idle == Bound::Never {
        concerns.push(Concern::KeepaliveOff { user_timeout: timeout.is_some() });
    } else if let Some(most) = too_late(predicted.idle) {
        concerns.push(Concern::IdleTooLate { most, wanted });
    }
    if let Some(most) = too_late(predicted.in_flight) {
        concerns.push(Concern::InFlightTooLate { most, wanted });
    } else if let Some(most) = too_late(predicted.shut_window) {
        concerns.push(Concern::ShutWindowTooLate { most, wanted });
    }
    if let (Some(keepalive), Bound::Within { least, .. }) = (protection.active_keepalive(), predicted.idle) {
        let gives_up = least.saturating_sub(keepalive.idle());
        // A probe counts if it leaves an interval before the end.
        if gives_up.saturating_sub(keepalive.interval()) <= policy.outage() {
            concerns.push(Concern::Impatient { gives_up, outage: policy.outage() });
        }
        let first = platform.latest(keepalive.idle());
        if let Some(timeout) = policy.mapping_timeout().filter(|timeout| first >= *timeout) {
            concerns.push(Concern::Forgotten { timeout, first });
        }
        if let (Known::Is(Some(timeout)), true) =
            (protection.user_timeout, platform.bound.replaces_probe_count)
        {
            let (probes, effective) = (keepalive.probes(), probes_until(timeout, keepalive));
            if effective != u32::from(probes) {
                concerns.push(Concern::CountIgnored { probes, effective });
            }
        }
    }
    if let Some(after) = timeout.filter(|_| platform.bound.ends_slow_readers) {
        concerns.push(Concern::SlowReaderEnds { after, expected: policy.slow_readers() });
    }
    concerns
}

/// Where a socket that has `protection` keeps less than `policy` promises, on a path with a round trip that a
/// [`Plan`] allows for. An outage counts where the policy names one: else a plan survives what a system can
/// ([`Plan::outage`]).
pub fn shortfalls(protection: &Protection, platform: &Platform, policy: &Policy) -> Vec<Concern> {
    let mut concerns = concerns(protection, platform, Plan::RTO, policy);
    let promised = |concern: &Concern| policy.names_outage() || !matches!(concern, Concern::Impatient { .. });
    concerns.retain(|concern| concern.breaks_policy() && promised(concern));
    concerns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_leaves_nothing_wrong_but_what_it_warns_of() {
        for detect in [10, 30, 60, 600] {
            let policy = Policy::detect(Duration::from_secs(detect)).build().unwrap();
            let plan = policy.plan(&Platform::linux()).unwrap();
            let protection = Protection::of(&plan.settings);
            for concern in concerns(&protection, &Platform::linux(), Plan::RTO, &policy) {
                assert!(matches!(concern.kind(), "count-ignored" | "slow-reader-ends"), "{concern:?}");
            }
        }
    }

    #[test]
    fn a_ceiling_may_be_low_enough_for_data_in_flight_alone() {
        let policy = Policy::detect(Duration::from_secs(30)).slow_readers(true).accept_rto_ceiling(true);
        let policy = policy.build().unwrap();
        let mut protection = Protection::of(&policy.plan(&Platform::linux()).unwrap().settings);
        let wrong = |protection| concerns(&protection, &Platform::linux(), Plan::RTO, &policy);
        assert_eq!(wrong(protection), []);
        protection.rto_max = Known::Is(Some(Duration::from_millis(1_700)));
        assert!(matches!(wrong(protection)[..], [Concern::ShutWindowTooLate { .. }]));
        protection.rto_max = Known::Is(Some(Duration::from_secs(3)));
        assert!(matches!(wrong(protection)[..], [Concern::InFlightTooLate { .. }]));
    }

    #[test]
    fn what_can_not_be_read_is_said_once() {
        let policy = Policy::detect(Duration::from_secs(30)).build().unwrap();
        let nothing = Protection::unknown(Why::NoPermission);
        let wrong = concerns(&nothing, &Platform::linux(), Plan::RTO, &policy);
        assert_eq!(wrong, [Concern::Unread(Why::NoPermission)]);
    }
}
