//! What a plan says of itself: warnings, reasons, refusals.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::{Plan, Unreachable, Wish};
use crate::known::Why;
use crate::platform::{Platform, System};
use crate::policy::Policy;
use crate::settings::{Set, Settings};
use crate::text::{BytesPerDay, Span};

/// A consequence of a plan that its user should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A peer that lives but keeps its window shut this long is given up.
    UserTimeoutKillsSlowReader {
        /// The option.
        option: &'static str,
        /// The user timeout.
        after: Duration,
    },
    /// The probe count has no say: the user timeout decides.
    UserTimeoutReplacesProbeCount {
        /// What the count says.
        probes: u8,
        /// How many probes the user timeout leaves room for.
        effective: u32,
    },
    /// With data in flight, or waiting for a window to open, a death is noticed later than wanted: this system
    /// has nothing better that spares slow readers.
    InFlightUnbounded {
        /// When it is noticed then.
        within: Duration,
    },
    /// This kernel has no RTO ceiling for one socket.
    NoRtoMax,
    /// A system's default that decides is not known, so nor is when a death is noticed with data in flight, and
    /// whether it survives the outage.
    DefaultUnknown {
        /// Why.
        why: Why,
    },
    /// What is written before `close()` may be lost: a closed socket whose pauses have reached the RTO ceiling
    /// is given up.
    RtoCeilingLosesData {
        /// The ceiling.
        ceiling: Duration,
    },
    /// With the RTO ceiling a shorter outage ends a connection with data in flight.
    RtoCeilingEndsSooner {
        /// The shortest outage that may end it.
        after: Duration,
        /// The same without the ceiling.
        otherwise: Duration,
    },
    /// The RTO ceiling adds retransmissions where a link is congested.
    RtoCeilingCongests,
    /// The formulas were not compared with a real system of this kind.
    NotMeasured {
        /// Which system.
        system: System,
    },
}

impl Warning {
    /// Its name for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::UserTimeoutKillsSlowReader { .. } => "user-timeout-kills-slow-reader",
            Self::UserTimeoutReplacesProbeCount { .. } => "user-timeout-replaces-probe-count",
            Self::InFlightUnbounded { .. } => "in-flight-unbounded",
            Self::NoRtoMax => "no-rto-max",
            Self::DefaultUnknown { .. } => "default-unknown",
            Self::RtoCeilingLosesData { .. } => "rto-ceiling-loses-data",
            Self::RtoCeilingEndsSooner { .. } => "rto-ceiling-ends-sooner",
            Self::RtoCeilingCongests => "rto-ceiling-congests",
            Self::NotMeasured { .. } => "not-measured",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserTimeoutKillsSlowReader { option, after } => write!(
                f,
                "{option} also ends a connection whose peer lives but reads nothing for {} (for peers that \
                 may: slow readers)",
                Span(*after)
            ),
            Self::UserTimeoutReplacesProbeCount { probes, effective } if u32::from(*probes) == *effective => {
                write!(
                    f,
                    "TCP_USER_TIMEOUT replaces the probe count; {probes} leads to the same moment, and counts \
                     where there is no user timeout"
                )
            }
            Self::UserTimeoutReplacesProbeCount { probes, effective } => write!(
                f,
                "the probe count of {probes} has no say: TCP_USER_TIMEOUT replaces it and leaves room for \
                 {effective}"
            ),
            Self::InFlightUnbounded { within } => write!(
                f,
                "with data in flight or a shut window a death is noticed only after up to {}: keepalive does \
                 nothing then",
                Span(*within).rounded_up()
            ),
            Self::NoRtoMax => f.write_str(
                "this kernel has no TCP_RTO_MAX_MS (Linux 6.15 and later): nothing here bounds data in \
                 flight without ending slow readers",
            ),
            Self::DefaultUnknown { why } => write!(
                f,
                "with data in flight it is not known when a death is noticed, nor whether the connection \
                 survives the outage: {why}"
            ),
            Self::RtoCeilingLosesData { ceiling } => write!(
                f,
                "TCP_RTO_MAX_MS loses data that was written before close(): once the pauses of a closed socket \
                 have grown to {}, Linux gives it up instead of trying again. At 1 s and 2 s that happens in \
                 an outage of 4 s, and while the peer reads nothing for 6 s. Set TCP_RTO_MAX_MS to 120000 \
                 before you close; deadpeer's guarded streams do so themselves, unless the process is killed",
                Span(*ceiling)
            ),
            Self::RtoCeilingEndsSooner { after, otherwise } => write!(
                f,
                "TCP_RTO_MAX_MS lets an outage of {} end a connection with data in flight; without it the \
                 connection survives {}",
                Span(*after),
                Span(*otherwise)
            ),
            Self::RtoCeilingCongests => f.write_str(
                "TCP_RTO_MAX_MS makes congestion worse: a ceiling of 1 s added 27 to 61 % retransmissions to 20 \
                 flows over a link of 800 kbit/s",
            ),
            Self::NotMeasured { system } => {
                write!(f, "the times for {system} follow its manual and sources; nobody measured them here")
            }
        }
    }
}

/// A duration that a system's unit made longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounded {
    /// Which setting.
    pub what: &'static str,
    /// What would have done.
    pub wanted: Duration,
    /// What it is.
    pub taken: Duration,
    /// The unit.
    pub unit: Duration,
}

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, wanted, taken, unit } = *self;
        let unit = if unit < Duration::from_secs(1) { "whole milliseconds" } else { "whole seconds" };
        // With all its milliseconds: "1 s rounded up to 1 s" would tell nothing.
        let wanted = wanted.as_nanos().div_ceil(1_000_000);
        write!(f, "{what}: {wanted} ms would do, rounded up to {} ({unit})", Span(taken))
    }
}

/// Why a plan is as it is. `Display` teaches it in a sentence or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Keepalive for idle connections, a bound for data in flight.
    BothTimers {
        /// The option that bounds.
        option: &'static str,
    },
    /// Keepalive alone: every bound here would end slow readers.
    KeepaliveAlone,
    /// The RTO ceiling, which would bound data in flight, is not accepted.
    RtoCeilingNotAccepted,
    /// An RTO ceiling instead of a user timeout.
    RtoMaxForSlowReaders {
        /// The ceiling.
        ceiling: Duration,
    },
    /// Why the last probe comes so late.
    Outage {
        /// The outage that is survived.
        survives: Duration,
    },
    /// What a middlebox demands.
    Mapping {
        /// Its idle timeout.
        timeout: Duration,
        /// The idle time after which something is sent.
        idle: Duration,
    },
    /// What only a heartbeat notices.
    Heartbeat {
        /// How often to send one.
        interval: Duration,
    },
}

impl Reason {
    /// Its name for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::BothTimers { .. } => "both-timers",
            Self::KeepaliveAlone => "keepalive-alone",
            Self::RtoCeilingNotAccepted => "rto-ceiling-not-accepted",
            Self::RtoMaxForSlowReaders { .. } => "rto-max-for-slow-readers",
            Self::Outage { .. } => "outage",
            Self::Mapping { .. } => "mapping",
            Self::Heartbeat { .. } => "heartbeat",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BothTimers { option } => write!(
                f,
                "Both are needed: keepalive probes only an idle connection, and is silent while data waits \
                 for its acknowledgement; {option} bounds that wait, and alone would never notice an idle \
                 death."
            ),
            Self::KeepaliveAlone => f.write_str(
                "Keepalive probes only an idle connection. Data in flight is left to the system's own \
                 retransmissions: a bound on unacknowledged data would also end a slow reader that lives.",
            ),
            Self::RtoCeilingNotAccepted => f.write_str(
                "TCP_RTO_MAX_MS (Linux 6.15) would bound data in flight and spare slow readers. But it loses data \
                 that was written before close(), lets shorter outages end a connection, and adds \
                 retransmissions to a congested link. So it is set only where the policy accepts that \
                 (accept-rto-ceiling).",
            ),
            Self::RtoMaxForSlowReaders { ceiling } => write!(
                f,
                "A slow reader answers window probes while it reads nothing. TCP_USER_TIMEOUT would end it \
                 all the same; TCP_RTO_MAX_MS (Linux 6.15) does not: it retransmits at least every {}, so \
                 the usual number of retransmissions is over sooner.",
                Span(ceiling)
            ),
            Self::Outage { survives } => write!(
                f,
                "An outage of {} may begin just before the first probe: the last one before the verdict is \
                 sent after it, and its answer counts.",
                Span(survives)
            ),
            Self::Mapping { timeout, idle } => write!(
                f,
                "Something on the way forgets connections idle for {}, silently: a probe after {} keeps it \
                 remembering, even if the timer is late.",
                Span(timeout),
                Span(idle)
            ),
            Self::Heartbeat { interval } => write!(
                f,
                "The peer's kernel answers all of this for an application that hangs. Only a heartbeat, \
                 answered by the application, notices that: one every {}, given up after three.",
                Span(interval)
            ),
        }
    }
}

/// The reasons for these settings, the most important first.
pub(super) fn reasons(policy: &Policy, platform: &Platform, settings: &Settings) -> Vec<Reason> {
    let mut reasons = Vec::new();
    match (settings.user_timeout, settings.rto_max) {
        (Set::To(_), _) => reasons.push(Reason::BothTimers { option: platform.bound.option }),
        (_, Set::To(ceiling)) => reasons.push(Reason::RtoMaxForSlowReaders { ceiling }),
        _ => {
            reasons.push(Reason::KeepaliveAlone);
            if platform.rto_max_per_socket && !policy.accepts_rto_ceiling() {
                reasons.push(Reason::RtoCeilingNotAccepted);
            }
        }
    }
    if !policy.outage().is_zero() {
        reasons.push(Reason::Outage { survives: policy.outage() });
    }
    if let (Some(timeout), Set::To(keepalive)) = (policy.mapping_timeout(), settings.keepalive) {
        reasons.push(Reason::Mapping { timeout, idle: keepalive.idle() });
    }
    // Three in the detection time, after the outage: the fourth would come too late.
    let interval = policy.detection_time().saturating_sub(Plan::RTO) / 3;
    reasons.push(Reason::Heartbeat { interval });
    reasons
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, best) = (self.wanted, self.best);
        let span = |ms| Span(Duration::from_millis(ms));
        // What is called the best must be enough as it is read.
        let enough = |ms| span(ms).rounded_up();
        match self.what {
            Wish::Detect if best == u64::MAX => {
                write!(f, "a death can't be noticed within {}: no settings survive that outage", span(wanted))
            }
            Wish::Detect => write!(
                f,
                "a death can't be noticed within {}: the best that survives the outage is {}",
                span(wanted),
                enough(best)
            ),
            Wish::BytesPerDay => write!(
                f,
                "{} is not enough: the other goals need {} at least ({best} bytes)",
                BytesPerDay(wanted),
                BytesPerDay(best)
            ),
            Wish::Outage => write!(
                f,
                "an outage of {} can't be survived with data in flight: this system's retransmissions \
                 outlast {} at most",
                span(wanted),
                span(best)
            ),
            Wish::MappingTimeout => write!(
                f,
                "an idle timeout of {} on the way can't be kept open: the shortest that can is {}",
                span(wanted),
                enough(best)
            ),
        }
    }
}

impl core::error::Error for Unreachable {}
