//! What one operating system is told.

use core::fmt;
use core::num::NonZeroU8;
use core::time::Duration;

/// What to do with one option. Three-valued, so that "off" and "leave it" can't be confused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Set<T> {
    /// The option keeps the value it has.
    #[default]
    Leave,
    /// The option is turned off.
    Off,
    /// The option is turned on with this value.
    To(T),
}

/// What a socket is told. The default leaves everything as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Probes on an idle connection.
    #[doc(alias = "SO_KEEPALIVE")]
    pub keepalive: Set<Keepalive>,
    /// How long sent data may stay unacknowledged before the connection is given up. Beware: it also ends a
    /// connection to a peer that lives but keeps its window shut that long.
    #[doc(alias = "TCP_USER_TIMEOUT")]
    pub user_timeout: Set<Duration>,
    /// The longest pause between two retransmissions (Linux 6.15 and later).
    #[doc(alias = "TCP_RTO_MAX_MS")]
    pub rto_max: Set<Duration>,
}

/// Keepalive: after `idle` without a sign of the peer a probe is sent, then one every `interval`; `probes`
/// of them unanswered end the connection.
///
/// Durations keep whole milliseconds; a finer one is rounded up, never down. An operating system may round
/// up further (Linux to whole seconds), and says so when the settings are read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Keepalive {
    idle_ms: u32,
    interval_ms: u32,
    probes: NonZeroU8,
}

impl Keepalive {
    /// The longest idle time or interval that Linux takes (`MAX_TCP_KEEPIDLE` in include/net/tcp.h).
    pub const LONGEST: Duration = Duration::from_secs(32_767);
    /// The most probes that Linux takes (`MAX_TCP_KEEPCNT`).
    pub const MOST_PROBES: u8 = 127;

    /// # Errors
    /// A duration of zero or above [`Self::LONGEST`]; no probes or more than [`Self::MOST_PROBES`].
    ///
    /// ```
    /// use core::time::Duration;
    /// use deadpeer_core::Keepalive;
    ///
    /// let keepalive = Keepalive::new(Duration::from_secs(5), Duration::from_secs(1), 5)?;
    /// assert_eq!(keepalive.idle(), Duration::from_secs(5));
    /// assert!(Keepalive::new(Duration::ZERO, Duration::from_secs(1), 5).is_err());
    /// # Ok::<(), deadpeer_core::OutOfRange>(())
    /// ```
    #[doc(alias = "TCP_KEEPIDLE")]
    #[doc(alias = "TCP_KEEPINTVL")]
    #[doc(alias = "TCP_KEEPCNT")]
    pub fn new(idle: Duration, interval: Duration, probes: u8) -> Result<Self, OutOfRange> {
        let milliseconds = |what, duration: Duration| match duration {
            Duration::ZERO => Err(OutOfRange { what, unit: "ms", least: 1, most: 32_767_000 }),
            too_long if too_long > Self::LONGEST => {
                Err(OutOfRange { what, unit: "ms", least: 1, most: 32_767_000 })
            }
            // Fits: LONGEST is 32,767,000 ms.
            fits => Ok(u32::try_from(fits.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)),
        };
        let out_of_range =
            OutOfRange { what: "keepalive probes", unit: "", least: 1, most: u64::from(Self::MOST_PROBES) };
        Ok(Self {
            idle_ms: milliseconds("keepalive idle time", idle)?,
            interval_ms: milliseconds("keepalive interval", interval)?,
            probes: NonZeroU8::new(probes).filter(|n| n.get() <= Self::MOST_PROBES).ok_or(out_of_range)?,
        })
    }

    /// Values that a system reports as in force. A system's defaults may lie beyond what one socket may set
    /// for itself: Linux takes a `tcp_keepalive_time` of a day.
    ///
    /// # Errors
    /// A duration of zero or above 49 days; no probes.
    ///
    /// ```
    /// use core::time::Duration;
    /// use deadpeer_core::Keepalive;
    ///
    /// let (day, minute) = (Duration::from_secs(86_400), Duration::from_secs(60));
    /// assert!(Keepalive::new(day, minute, 9).is_err());
    /// assert_eq!(Keepalive::in_force(day, minute, 9)?.idle(), day);
    /// # Ok::<(), deadpeer_core::OutOfRange>(())
    /// ```
    pub fn in_force(idle: Duration, interval: Duration, probes: u8) -> Result<Self, OutOfRange> {
        let milliseconds = |what, duration: Duration| {
            let out_of_range = OutOfRange { what, unit: "ms", least: 1, most: u64::from(u32::MAX) };
            let milliseconds = u32::try_from(duration.as_nanos().div_ceil(1_000_000)).ok();
            milliseconds.filter(|&ms| ms > 0).ok_or(out_of_range)
        };
        let most = u64::from(u8::MAX);
        Ok(Self {
            idle_ms: milliseconds("keepalive idle time", idle)?,
            interval_ms: milliseconds("keepalive interval", interval)?,
            probes: NonZeroU8::new(probes).ok_or(OutOfRange {
                what: "keepalive probes",
                unit: "",
                least: 1,
                most,
            })?,
        })
    }

    /// How long the connection must be idle before the first probe.
    pub const fn idle(self) -> Duration {
        Duration::from_millis(self.idle_ms as u64)
    }

    /// The time between two probes.
    pub const fn interval(self) -> Duration {
        Duration::from_millis(self.interval_ms as u64)
    }

    /// How many probes may stay unanswered.
    pub const fn probes(self) -> u8 {
        self.probes.get()
    }
}

impl fmt::Display for Keepalive {
    /// In seconds, as `idle/interval/probes`: "5/1/5".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u32| f64::from(ms) / 1000.0;
        write!(f, "{}/{}/{}", seconds(self.idle_ms), seconds(self.interval_ms), self.probes)
    }
}

/// A value that no operating system takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// Which setting.
    pub what: &'static str,
    /// The unit of the two numbers.
    pub unit: &'static str,
    /// The least that is taken.
    pub least: u64,
    /// The most that is taken.
    pub most: u64,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, least, most } = self;
        let space = if unit.is_empty() { "" } else { " " };
        write!(f, "{what} must lie within {least}..{most}{space}{unit}")
    }
}

impl core::error::Error for OutOfRange {}
