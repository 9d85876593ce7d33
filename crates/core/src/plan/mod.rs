//! From what is wanted to what to set.

mod rules;
mod search;
#[cfg(test)]
mod tests;
mod words;

use alloc::vec::Vec;
use core::time::Duration;

use crate::detection::{Bound, Detection, probes_until};
use crate::known::Known;
use crate::platform::{Platform, System};
use crate::policy::Policy;
use crate::retransmission::Backoff;
use crate::settings::{Keepalive, Set, Settings};

pub use words::{Reason, Rounded, Warning};

/// Settings that keep a policy's promise, and what they lead to.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::{Platform, Policy, Set};
///
/// let policy = Policy::detect(Duration::from_secs(30)).survive(Duration::from_secs(8)).build()?;
/// let plan = policy.plan(&Platform::linux())?;
/// let Set::To(keepalive) = plan.settings.keepalive else { unreachable!("always on") };
/// assert_eq!(keepalive.to_string(), "15/1/10");
/// assert_eq!(plan.settings.user_timeout, Set::To(Duration::from_millis(26_632)));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// What to tell the socket.
    pub settings: Settings,
    /// The detection times that follow, at an RTO of [`Plan::RTO`].
    pub detection: Detection,
    /// The outage that is survived: the policy's, or less where nobody asked for one.
    pub outage: Duration,
    /// What an idle connection costs a day: probes and answers as IPv6 packets with timestamps.
    pub bytes_per_day: u64,
    /// What was rounded up to the system's units.
    pub rounded: Vec<Rounded>,
    /// What the user should know.
    pub warnings: Vec<Warning>,
    /// Why these settings.
    pub reasons: Vec<Reason>,
}

impl Plan {
    /// The retransmission timeout that a plan allows for: a round trip of up to some 300 ms.
    pub const RTO: Duration = Duration::from_millis(500);
    /// A probe and its answer: 40 bytes of IPv6, 20 of TCP, 12 of timestamps, both ways.
    pub const PROBE_BYTES: u64 = 2 * (40 + 20 + 12);
}

/// A policy that no settings keep: what was wanted, and the best that is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Which of the policy's wishes.
    pub what: Wish,
    /// What was wanted, in milliseconds or bytes.
    pub wanted: u64,
    /// The best that is possible, in the same unit: with it instead there is a plan, as far as this wish
    /// goes. [`u64::MAX`] where nothing is possible.
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
    /// The outage that is survived, milliseconds: here the best is shorter than what was wanted.
    Outage,
}

pub(crate) fn plan(policy: &Policy, platform: &Platform) -> Result<Plan, Unreachable> {
    let (found, policy) = &match search::best(policy, platform) {
        Ok(found) => (found, policy.clone()),
        Err(refusal) => search::with_usual_outage(policy, platform).ok_or(refusal)?,
    };
    let (keepalive, settings) = (found.keepalive, found.settings());
    let detection = found.detection(platform);
    let mut warnings = Vec::new();
    if let Set::To(after) = settings.user_timeout {
        if platform.bound.ends_slow_readers {
            warnings.push(Warning::UserTimeoutKillsSlowReader { option: platform.bound.option, after });
        }
        if platform.bound.replaces_probe_count {
            let (probes, effective) = (keepalive.probes(), probes_until(after, keepalive));
            warnings.push(Warning::UserTimeoutReplacesProbeCount { probes, effective });
        }
    }
    if let Set::To(ceiling) = settings.rto_max {
        warnings.push(Warning::RtoCeilingLosesData { ceiling });
        if let (Known::Is(retries), Known::Is(rto_max)) = (platform.retries, platform.rto_max) {
            let given_up = |ceiling| Backoff::new(Plan::RTO, ceiling).data_given_up(retries).0;
            let (after, otherwise) = (given_up(ceiling), given_up(rto_max));
            warnings.push(Warning::RtoCeilingEndsSooner { after, otherwise });
        }
        warnings.push(Warning::RtoCeilingCongests);
    } else if policy.accepts_rto_ceiling()
        && policy.slow_readers()
        && platform.system == System::Linux
        && !platform.rto_max_per_socket
    {
        warnings.push(Warning::NoRtoMax);
    }
    let waiting = [detection.in_flight, detection.shut_window].into_iter().filter_map(Bound::most).max();
    if let Some(within) = waiting.filter(|most| *most > policy.detection_time()) {
        warnings.push(Warning::InFlightUnbounded { within });
    }
    if let Bound::Unknown(why) = detection.in_flight {
        warnings.push(Warning::DefaultUnknown { why });
    }
    if platform.system != System::Linux {
        warnings.push(Warning::NotMeasured { system: platform.system });
    }
    let rounded = found.rounded(policy, platform);
    let bytes_per_day = cost(keepalive);
    let reasons = words::reasons(policy, platform, &settings);
    let outage = policy.outage();
    Ok(Plan { settings, detection, outage, bytes_per_day, rounded, warnings, reasons })
}

/// Bytes a day of an idle connection: one probe and its answer per idle time, or per interval where that is
/// longer.
fn cost(keepalive: Keepalive) -> u64 {
    const DAY_MS: u64 = 86_400_000;
    let period = keepalive.idle().max(keepalive.interval()).as_millis();
    DAY_MS.div_ceil(u64::try_from(period).unwrap_or(u64::MAX).max(1)) * Plan::PROBE_BYTES
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
