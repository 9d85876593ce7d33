//! Times as people read them.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// A duration as people read it: two or three significant figures, one or two units.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::Span;
///
/// assert_eq!(Span(Duration::from_micros(24)).to_string(), "0.02 ms");
/// assert_eq!(Span(Duration::from_millis(9_240)).to_string(), "9.2 s");
/// assert_eq!(Span(Duration::from_secs(75)).to_string(), "75 s");
/// assert_eq!(Span(Duration::from_secs(938)).to_string(), "15 min 38 s");
/// assert_eq!(Span(Duration::from_secs(7_875)).to_string(), "2 h 11 min");
/// assert_eq!(Span(Duration::from_secs(400_000)).to_string(), "4 d 15 h");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// Rounded up to what `Display` shows of it: what is called "up to" is never understated.
    ///
    /// ```
    /// use core::time::Duration;
    /// use deadpeer_core::Span;
    ///
    /// let most = Span(Duration::from_millis(29_351));
    /// assert_eq!((most.to_string(), most.rounded_up().to_string()), ("29 s".into(), "30 s".into()));
    /// assert_eq!(Span(Duration::from_millis(7_901)).rounded_up().to_string(), "8 s");
    /// assert_eq!(Span(Duration::from_secs(7_201)).rounded_up().to_string(), "2 h 1 min");
    /// ```
    #[must_use]
    pub fn rounded_up(self) -> Self {
        let shown = match self.0.as_secs() {
            0 => return self,
            1..20 => 100,
            20..3_600 => 1_000,
            3_600..86_400 => 60_000,
            _ => 3_600_000,
        };
        let milliseconds = u64::try_from(self.0.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        milliseconds.checked_next_multiple_of(shown).map_or(self, |ms| Self(Duration::from_millis(ms)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let pair = |f: &mut fmt::Formatter<'_>, large: u64, unit: &str, small: u64, sub: &str| match small {
            0 => write!(f, "{large} {unit}"),
            small => write!(f, "{large} {unit} {small} {sub}"),
        };
        let micros = self.0.as_micros();
        let seconds = self.0.as_secs();
        match micros {
            0 => f.write_str("0 ms"),
            1..1_000 => write!(f, "0.{:02} ms", (micros / 10).max(1)),
            1_000..10_000 => write!(f, "{}.{} ms", micros / 1_000, micros / 100 % 10),
            10_000..1_000_000 => write!(f, "{} ms", micros / 1_000),
            1_000_000..20_000_000 => match micros / 100_000 % 10 {
                0 => write!(f, "{seconds} s"),
                tenth => write!(f, "{seconds}.{tenth} s"),
            },
            _ if seconds < 2 * MINUTE => write!(f, "{seconds} s"),
            _ if seconds < HOUR => pair(f, seconds / MINUTE, "min", seconds % MINUTE, "s"),
            _ if seconds < DAY => pair(f, seconds / HOUR, "h", seconds % HOUR / MINUTE, "min"),
            _ => pair(f, seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        }
    }
}

/// A number with its unit: `500ms`, `3s`, `2m`, `1h`, `1d`; fractions are allowed.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::Span;
///
/// assert_eq!("1.5s".parse(), Ok(Span(Duration::from_millis(1500))));
/// assert_eq!("2min".parse(), Ok(Span(Duration::from_secs(120))));
/// assert!("5".parse::<Span>().is_err());
/// ```
impl FromStr for Span {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        const WRONG: BadUnit = BadUnit("a time is a number with its unit: 500ms, 3s, 2m, 1h");
        let (number, unit) = split(text).ok_or(WRONG)?;
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(WRONG),
        };
        Duration::try_from_secs_f64(number * seconds).map(Self).map_err(|_| WRONG)
    }
}

/// Bytes a day, as people write and read them: `1MB/day`, `20kB/h`; units of 1000, or of 1024 as `KiB`.
///
/// ```
/// use deadpeer_core::BytesPerDay;
///
/// assert_eq!("1.5MB/day".parse(), Ok(BytesPerDay(1_500_000)));
/// assert_eq!("1KiB/h".parse(), Ok(BytesPerDay(24 * 1024)));
/// assert_eq!(BytesPerDay(778_032).to_string(), "778 kB/day");
/// assert!("1MB".parse::<BytesPerDay>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BytesPerDay(pub u64);

impl FromStr for BytesPerDay {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        const WRONG: BadUnit = BadUnit("a budget is a number with its units: 1MB/day, 20kB/h");
        let (amount, per) = text.split_once('/').ok_or(WRONG)?;
        let (number, unit) = split(amount).ok_or(WRONG)?;
        let bytes = match unit.trim_end_matches('B') {
            "" if unit == "B" => 1.0,
            "k" | "K" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "Ki" => 1024.0,
            "Mi" => 1_048_576.0,
            "Gi" => 1_073_741_824.0,
            _ => return Err(WRONG),
        };
        let times = match per {
            "day" | "d" => 1.0,
            "hour" | "h" => 24.0,
            "month" => 1.0 / 30.0,
            _ => return Err(WRONG),
        };
        let value = number * bytes * times;
        // Above 2^53 a day is no budget any more; not a number and negative are none either.
        if (0.0..9e15).contains(&value) { Ok(Self(value as u64)) } else { Err(WRONG) }
    }
}

impl fmt::Display for BytesPerDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |unit: u64| (self.0 / unit, self.0 % unit * 10 / unit);
        let (unit, name) = match self.0 {
            0..1_000 => return write!(f, "{} B/day", self.0),
            1_000..1_000_000 => (1_000, "kB"),
            1_000_000..1_000_000_000 => (1_000_000, "MB"),
            _ => (1_000_000_000, "GB"),
        };
        match tenths(unit) {
            (whole @ ..100, tenth @ 1..) => write!(f, "{whole}.{tenth} {name}/day"),
            (whole, _) => write!(f, "{whole} {name}/day"),
        }
    }
}

/// A text that is no number with a known unit: it says what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUnit(&'static str);

impl fmt::Display for BadUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for BadUnit {}

/// The number and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    Some((number.trim_end().parse().ok()?, unit))
}
