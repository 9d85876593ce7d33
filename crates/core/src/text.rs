//! Times as people read them.

use core::fmt;
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
