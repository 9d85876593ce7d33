//! What became of settings, in the same words on all systems.

use std::fmt;
use std::io;
use std::time::Duration;

use deadpeer_core::{Keepalive, KeepaliveSeen, Known, Protection, Set, Settings, Why};

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
    /// On or off.
    Switch(bool),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "{} ms", time.as_millis()),
            Self::Count(count) => write!(f, "{count}"),
            Self::Switch(on) => f.write_str(if *on { "on" } else { "off" }),
        }
    }
}

impl Gap {
    /// What differs, if anything.
    fn between(option: &'static str, wanted: Amount, got: Amount) -> Option<Self> {
        (wanted != got).then_some(Self { option, wanted, got: Some(got), error: None })
    }

    /// Differing numbers of probes.
    #[cfg(windows)]
    pub(crate) fn of_probes(option: &'static str, wanted: u8, got: u8) -> Option<Self> {
        Self::between(option, Amount::Count(wanted), Amount::Count(got))
    }

    /// An option that was not taken at all.
    pub(crate) const fn refused(option: &'static str, wanted: Amount, error: io::Error) -> Self {
        Self { option, wanted, got: None, error: Some(error) }
    }

    /// An option of which nobody knows what the socket took.
    fn unread(option: &'static str, wanted: Amount, why: Why) -> Self {
        Self::refused(option, wanted, io::Error::other(format!("reading it back: {why}")))
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

/// What a read-back differs in from what was wanted, and what can't be read back; `names` are those of the idle
/// time, the interval, the number of probes and the bound.
pub(crate) fn differences(settings: &Settings, now: &Protection, names: [&'static str; 4]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    keepalive_differences(settings.keepalive, now.keepalive, names, &mut gaps);
    gaps.extend(time_difference(names[3], settings.user_timeout, now.user_timeout));
    // "Off" is the system's default, whatever that is.
    if let Set::To(_) = settings.rto_max {
        gaps.extend(time_difference("TCP_RTO_MAX_MS", settings.rto_max, now.rto_max));
    }
    gaps
}

fn keepalive_differences(
    wanted: Set<Keepalive>,
    now: Known<KeepaliveSeen>,
    names: [&'static str; 4],
    gaps: &mut Vec<Gap>,
) {
    const SWITCH: &str = "SO_KEEPALIVE";
    let on = match wanted {
        Set::Leave => return,
        Set::Off => false,
        Set::To(_) => true,
    };
    let seen = match now {
        Known::Is(seen) => seen,
        Known::Not(why) => return gaps.push(Gap::unread(SWITCH, Amount::Switch(on), why)),
    };
    gaps.extend(Gap::between(SWITCH, Amount::Switch(on), Amount::Switch(seen.enabled)));
    let Set::To(wanted) = wanted else { return };
    if !seen.enabled {
        return; // nothing runs with its values
    }
    let values = |keepalive: Keepalive| {
        let (idle, interval) = (keepalive.idle(), keepalive.interval());
        [Amount::Time(idle), Amount::Time(interval), Amount::Count(keepalive.probes())]
    };
    for (at, wanted) in values(wanted).into_iter().enumerate() {
        gaps.extend(match seen.values {
            Known::Is(got) => Gap::between(names[at], wanted, values(got)[at]),
            Known::Not(why) => Some(Gap::unread(names[at], wanted, why)),
        });
    }
}

fn time_difference(option: &'static str, wanted: Set<Duration>, now: Known<Option<Duration>>) -> Option<Gap> {
    let wanted = match wanted {
        Set::Leave => return None,
        Set::Off => Duration::ZERO,
        Set::To(wanted) => wanted,
    };
    match now {
        Known::Is(got) => {
            Gap::between(option, Amount::Time(wanted), Amount::Time(got.unwrap_or(Duration::ZERO)))
        }
        // What is not known here is not on either.
        Known::Not(Why::NotOnThisKernel | Why::NotOnThisSocket) if wanted.is_zero() => None,
        Known::Not(why) => Some(Gap::unread(option, Amount::Time(wanted), why)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["IDLE", "INTERVAL", "PROBES", "BOUND"];

    fn told(now: Protection) -> Vec<String> {
        let keepalive = Keepalive::new(Duration::from_secs(5), Duration::from_secs(1), 3).unwrap();
        let settings = Settings {
            keepalive: Set::To(keepalive),
            user_timeout: Set::To(Duration::from_secs(9)),
            rto_max: Set::To(Duration::from_secs(2)),
        };
        differences(&settings, &now, NAMES).iter().map(ToString::to_string).collect()
    }

    fn taken() -> Protection {
        let values = Keepalive::new(Duration::from_secs(5), Duration::from_secs(1), 3).unwrap();
        Protection {
            keepalive: Known::Is(KeepaliveSeen { enabled: true, values: Known::Is(values) }),
            user_timeout: Known::Is(Some(Duration::from_secs(9))),
            rto_max: Known::Is(Some(Duration::from_secs(2))),
        }
    }

    #[test]
    fn what_was_taken_is_no_gap() {
        assert_eq!(told(taken()), [""; 0]);
    }

    #[test]
    fn what_reads_back_as_off_is_a_gap() {
        let off = KeepaliveSeen { enabled: false, values: Known::Not(Why::KeepaliveOff) };
        let now =
            Protection { keepalive: Known::Is(off), user_timeout: Known::Is(None), rto_max: Known::Is(None) };
        assert_eq!(
            told(now),
            [
                "SO_KEEPALIVE: on wanted, off taken",
                "BOUND: 9000 ms wanted, 0 ms taken",
                "TCP_RTO_MAX_MS: 2000 ms wanted, 0 ms taken"
            ]
        );
    }

    #[test]
    fn what_can_not_be_read_back_is_a_gap() {
        let unread = told(Protection::unknown(Why::Failed));
        assert_eq!(unread.len(), 3);
        assert_eq!(unread[0], "SO_KEEPALIVE: on wanted (reading it back: a system call failed unexpectedly)");
        let mut values = taken();
        values.keepalive = Known::Is(KeepaliveSeen { enabled: true, values: Known::Not(Why::OutOfRange) });
        let names: Vec<_> =
            told(values).iter().map(|gap| gap.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(names, NAMES[..3]);
    }

    #[test]
    fn what_should_be_off_and_is_on_is_a_gap() {
        let off = Settings { keepalive: Set::Off, user_timeout: Set::Off, rto_max: Set::Off };
        let told = |now| differences(&off, &now, NAMES).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            told(taken()),
            ["SO_KEEPALIVE: off wanted, on taken", "BOUND: 0 ms wanted, 9000 ms taken"]
        );
        let mut now = Protection::of(&Settings::default());
        now.user_timeout = Known::Not(Why::NotOnThisSocket);
        assert_eq!(told(now), [""; 0], "a socket without the option has it off");
    }
}
