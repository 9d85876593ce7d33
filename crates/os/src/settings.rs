//! What became of settings, in the same words on all systems.

use std::fmt;
use std::io;
use std::time::Duration;

use deadpeer_core::{Known, Protection, Set, Settings};

/// What a socket has after settings were applied.
#[derive(Debug)]
#[must_use = "what the system did not take stands in `gaps`"]
pub struct Applied {
    /// What was read back. Where Windows has no call for that (before 1709), what its `SIO_KEEPALIVE_VALS`
    /// said yes to.
    pub now: Protection,
    /// Where that differs from what was wanted.
    pub gaps: Vec<Gap>,
}

/// One option that the system did not take as it was wanted.
#[derive(Debug)]
pub struct Gap {
    /// The system's name of the option.
    pub option: &'static str,
    /// What was wanted; zero for "off".
    pub wanted: Amount,
    /// What the socket has instead, where it could be read.
    pub got: Option<Amount>,
    /// The error that setting it met.
    pub error: Option<io::Error>,
}

/// An option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// A time.
    Time(Duration),
    /// A number of probes.
    Count(u8),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "{} ms", time.as_millis()),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

impl Gap {
    /// What differs, if anything.
    pub(crate) fn between(option: &'static str, wanted: Duration, got: Duration) -> Option<Self> {
        let time = Amount::Time;
        (wanted != got).then(|| Self { option, wanted: time(wanted), got: Some(time(got)), error: None })
    }

    /// Differing numbers of probes.
    pub(crate) fn of_probes(option: &'static str, wanted: u8, got: u8) -> Option<Self> {
        let count = Amount::Count;
        (wanted != got).then(|| Self { option, wanted: count(wanted), got: Some(count(got)), error: None })
    }

    /// An option that was not taken at all.
    pub(crate) const fn refused(option: &'static str, wanted: Duration, error: io::Error) -> Self {
        Self { option, wanted: Amount::Time(wanted), got: None, error: Some(error) }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} wanted", self.option, self.wanted)?;
        if let Some(got) = self.got {
            write!(f, ", {got} taken")?;
        }
        match &self.error {
            Some(error) => write!(f, " ({error})"),
            None => Ok(()),
        }
    }
}

/// A system call on a socket that failed.
#[derive(Debug)]
pub struct Error {
    /// The option that was being read or set.
    pub option: &'static str,
    /// The error.
    pub source: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on this socket failed: {}", self.option, self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Whether a socket that has `now` set has all that `settings` say.
pub fn has(now: &Protection, settings: &Settings) -> bool {
    fn is<T: PartialEq>(now: Known<Option<T>>, wanted: &Set<T>) -> bool {
        match (wanted, now) {
            (Set::Leave, _) | (Set::Off, Known::Is(None)) => true,
            (Set::To(wanted), Known::Is(Some(now))) => *wanted == now,
            _ => false,
        }
    }
    let keepalive = match now.keepalive {
        Known::Is(seen) if seen.enabled => seen.values.map(Some),
        Known::Is(_) => Known::Is(None),
        Known::Not(why) => Known::Not(why),
    };
    is(keepalive, &settings.keepalive)
        && is(now.user_timeout, &settings.user_timeout)
        && is(now.rto_max, &settings.rto_max)
}

/// What a read-back differs in from what was wanted; `names` are those of the idle time, the interval, the
/// number of probes and the bound.
pub(crate) fn differences(settings: &Settings, now: &Protection, names: [&'static str; 4]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if let (Set::To(wanted), Some(got)) = (settings.keepalive, now.active_keepalive()) {
        gaps.extend(Gap::between(names[0], wanted.idle(), got.idle()));
        gaps.extend(Gap::between(names[1], wanted.interval(), got.interval()));
        gaps.extend(Gap::of_probes(names[2], wanted.probes(), got.probes()));
    }
    if let (Set::To(wanted), Known::Is(Some(got))) = (settings.user_timeout, now.user_timeout) {
        gaps.extend(Gap::between(names[3], wanted, got));
    }
    gaps
}

/// Whole seconds, rounded up.
pub(crate) fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

/// Whole milliseconds, rounded up.
#[cfg(any(target_os = "linux", windows))]
pub(crate) fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}
