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
    accept_rto_ceiling: bool,
    best_effort: bool,
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
            accept_rto_ceiling: false,
            best_effort: false,
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

    /// Whether [`Settings::rto_max`](crate::Settings::rto_max) may be set, with what it costs.
    pub const fn accepts_rto_ceiling(&self) -> bool {
        self.accept_rto_ceiling
    }

    /// Whether the best that a system can do is enough where it can't keep the policy.
    pub const fn is_best_effort(&self) -> bool {
        self.best_effort
    }

    /// Whether somebody asked for the outage, or it is what is usual.
    pub(crate) const fn names_outage(&self) -> bool {
        self.outage_is_wish
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
    accept_rto_ceiling: bool,
    best_effort: bool,
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

    /// The peer may keep its window shut for long and must live. This forbids every bound that would end it,
    /// TCP_USER_TIMEOUT among them. On Linux nothing but [`accept_rto_ceiling`](Self::accept_rto_ceiling) bounds
    /// data in flight then: without it, only a death on an idle connection is noticed in time.
    pub fn slow_readers(self, yes: bool) -> Self {
        Self { slow_readers: yes, ..self }
    }

    /// A socket may get an RTO ceiling (TCP_RTO_MAX_MS, Linux 6.15), the one bound on data in flight that spares
    /// slow readers. It has a price, so no plan has one unless the policy accepts it:
    ///
    /// - **Data that was written before `close()` is lost** in an outage of a few seconds, or while the peer reads
    ///   nothing: the kernel gives up a closed socket as soon as its pauses have reached the ceiling. Put it back
    ///   before you close (`deadpeer::before_close`); `deadpeer::Guarded` does so when it is dropped. Nobody
    ///   does it for a process that is killed.
    /// - With a ceiling of 1 s data in flight is given up after an outage of 15 s, not of 15 minutes.
    /// - On a congested link (20 flows over 800 kbit/s) a ceiling of 1 s adds 27 to 61 % retransmissions.
    #[doc(alias = "TCP_RTO_MAX_MS")]
    pub fn accept_rto_ceiling(self, yes: bool) -> Self {
        Self { accept_rto_ceiling: yes, ..self }
    }

    /// Where a system can't keep the detection time in every state, do what it can: a shortfall is part of the
    /// result then, and no error of `deadpeer::apply` and `deadpeer::guard`.
    pub fn best_effort(self, yes: bool) -> Self {
        Self { best_effort: yes, ..self }
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
            accept_rto_ceiling: self.accept_rto_ceiling,
            best_effort: self.best_effort,
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
