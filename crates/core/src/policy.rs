//! What is wanted, free of contradictions.

use core::fmt;
use core::time::Duration;

use crate::plan::{Plan, Unreachable, plan};
use crate::platform::Platform;
use crate::text::Span;

/// What is wanted of a connection. A policy that contradicts itself can't be made.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::Policy;
///
/// let policy = Policy::detect(Duration::from_secs(15)).survive(Duration::from_secs(5)).build()?;
/// assert_eq!(policy.outage(), Duration::from_secs(5));
///
/// let error = Policy::detect(Duration::from_secs(5)).survive(Duration::from_secs(6)).build().unwrap_err();
/// assert_eq!(error.to_string(), "a death can't be noticed within 5 s when an outage of 6 s must be survived");
/// # Ok::<(), deadpeer_core::Contradiction>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    detect: Duration,
    survive: Duration,
    /// Whether somebody asked for that, or it is what is usual.
    outage_is_wish: bool,
    mapping_timeout: Option<Duration>,
    bytes_per_day: Option<u64>,
    slow_readers: bool,
}

impl Policy {
    /// Notice a death within `detect`. Outages of up to a third of it are survived, of less where `detect` is
    /// below 14 s or a system can't do better ([`Plan::outage`]), unless [`PolicyBuilder::survive`] asks for
    /// one.
    pub fn detect(detect: Duration) -> PolicyBuilder {
        PolicyBuilder {
            detect,
            survive: None,
            mapping_timeout: None,
            bytes_per_day: None,
            slow_readers: false,
        }
    }

    /// A death is noticed within this time.
    pub const fn detection_time(&self) -> Duration {
        self.detect
    }

    /// An outage this long must not end the connection.
    pub const fn outage(&self) -> Duration {
        self.survive
    }

    /// A middlebox on the way forgets connections that are idle for this long.
    pub const fn mapping_timeout(&self) -> Option<Duration> {
        self.mapping_timeout
    }

    /// What probes on an idle connection may cost a day.
    pub const fn bytes_per_day(&self) -> Option<u64> {
        self.bytes_per_day
    }

    /// Whether a peer may keep its window shut for long and must live.
    pub const fn slow_readers(&self) -> bool {
        self.slow_readers
    }

    /// The same with another detection time.
    pub(crate) fn with_detect(&self, detect: Duration) -> Self {
        Self { detect, ..self.clone() }
    }

    /// The same with another middlebox.
    pub(crate) fn with_mapping(&self, timeout: Duration) -> Self {
        Self { mapping_timeout: Some(timeout), ..self.clone() }
    }

    /// The same with another outage, where nobody asked for one.
    pub(crate) fn with_usual_outage(&self, outage: Duration) -> Option<Self> {
        (!self.outage_is_wish).then(|| Self { survive: outage, ..self.clone() })
    }

    /// The same without a middlebox.
    pub(crate) fn without_mapping(&self) -> Self {
        Self { mapping_timeout: None, ..self.clone() }
    }

    /// The settings that keep this promise on `platform`.
    ///
    /// # Errors
    /// [`Unreachable`] with what is wanted and the best that is possible.
    pub fn plan(&self, platform: &Platform) -> Result<Plan, Unreachable> {
        plan(self, platform)
    }
}

/// A [`Policy`] in the making.
#[derive(Clone, Debug)]
#[must_use = "a policy comes from `build`"]
pub struct PolicyBuilder {
    detect: Duration,
    survive: Option<Duration>,
    mapping_timeout: Option<Duration>,
    bytes_per_day: Option<u64>,
    slow_readers: bool,
}

impl PolicyBuilder {
    /// A disturbance of up to `outage` must not end a healthy connection.
    pub fn survive(self, outage: Duration) -> Self {
        Self { survive: Some(outage), ..self }
    }

    /// A NAT or firewall on the way forgets connections after `idle`; something is sent before.
    pub fn mapping_timeout(self, idle: Duration) -> Self {
        Self { mapping_timeout: Some(idle), ..self }
    }

    /// Upper bound for probes and their answers on an idle connection, counted as IP packets.
    pub fn bytes_per_day(self, bytes: u64) -> Self {
        Self { bytes_per_day: Some(bytes), ..self }
    }

    /// The peer may keep its window shut for long and must live. This forbids
    /// every bound that would end it, TCP_USER_TIMEOUT among them.
    pub fn slow_readers(self, yes: bool) -> Self {
        Self { slow_readers: yes, ..self }
    }

    /// # Errors
    /// [`Contradiction`] when the outage to survive is not shorter than the detection time.
    pub fn build(self) -> Result<Policy, Contradiction> {
        // Retransmissions double their distance: one must come after the outage and before the end, which
        // leaves less than half of a short detection time.
        let outlasted = self.detect.saturating_sub(Duration::from_millis(3_200)) / 23 * 10;
        let survive = self.survive.unwrap_or((self.detect / 3).min(outlasted));
        if survive >= self.detect {
            return Err(Contradiction { detect: self.detect, survive });
        }
        Ok(Policy {
            detect: self.detect,
            survive,
            outage_is_wish: self.survive.is_some(),
            mapping_timeout: self.mapping_timeout,
            bytes_per_day: self.bytes_per_day,
            slow_readers: self.slow_readers,
        })
    }
}

/// A wish to notice a death sooner than an outage that must be survived ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The wanted detection time.
    pub detect: Duration,
    /// The outage that must be survived.
    pub survive: Duration,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { detect, survive } = self;
        if detect.is_zero() {
            return f.write_str("a death can't be noticed in no time: the detection time is 0");
        }
        let (detect, survive) = (Span(*detect), Span(*survive));
        write!(f, "a death can't be noticed within {detect} when an outage of {survive} must be survived")
    }
}

impl core::error::Error for Contradiction {}
