//! What is wanted, wish by wish, as flags and files say it.

use std::fmt;
use std::time::Duration;

#[cfg(doc)]
use deadpeer_core::PolicyBuilder;
use deadpeer_core::{BytesPerDay, Contradiction, Policy};

/// The wishes of a [`Policy`], any of which may be missing: they come from flags, from a file, or from one
/// over the other.
///
/// As a file (TOML, feature `toml`), every key may be missing:
///
/// ```toml
/// detect = "30s"          # notice a death within
/// tolerate = "8s"         # survive an outage of
/// nat = "350s"            # something on the way forgets connections idle for so long
/// budget = "1MB/day"      # an idle connection may cost
/// slow-readers = true     # a peer may keep its window shut for long
/// accept-rto-ceiling = true # TCP_RTO_MAX_MS may be set, with what it costs
/// best-effort = true      # what the system can't keep is no error
/// ```
///
/// ```
/// use std::time::Duration;
/// use deadpeer::Goals;
///
/// let flags = Goals { tolerate: Some(Duration::from_secs(4)), ..Goals::default() };
/// let file = Goals { detect: Some(Duration::from_secs(20)), tolerate: None, ..Goals::default() };
/// let policy = flags.or(file).policy()?;
/// assert_eq!(policy.detection_time(), Duration::from_secs(20));
/// assert_eq!(policy.outage(), Duration::from_secs(4));
/// # Ok::<(), deadpeer::Contradiction>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goals {
    /// Notice a death within this time.
    pub detect: Option<Duration>,
    /// An outage this long must not end a connection.
    pub tolerate: Option<Duration>,
    /// Something on the way forgets connections that are idle for this long.
    pub nat: Option<Duration>,
    /// What an idle connection may cost.
    pub budget: Option<BytesPerDay>,
    /// Whether a peer may keep its window shut for long and must live.
    pub slow_readers: Option<bool>,
    /// Whether TCP_RTO_MAX_MS may be set: see [`PolicyBuilder::accept_rto_ceiling`].
    pub accept_rto_ceiling: Option<bool>,
    /// Whether the best that the system can do is enough: see [`PolicyBuilder::best_effort`].
    pub best_effort: Option<bool>,
}

impl Goals {
    /// The detection time where nobody wished for one.
    pub const DETECT: Duration = Duration::from_secs(30);

    /// These wishes, and those of `other` where there is none.
    pub fn or(self, other: Self) -> Self {
        Self {
            detect: self.detect.or(other.detect),
            tolerate: self.tolerate.or(other.tolerate),
            nat: self.nat.or(other.nat),
            budget: self.budget.or(other.budget),
            slow_readers: self.slow_readers.or(other.slow_readers),
            accept_rto_ceiling: self.accept_rto_ceiling.or(other.accept_rto_ceiling),
            best_effort: self.best_effort.or(other.best_effort),
        }
    }

    /// The policy: within [`Goals::DETECT`] where nothing is said of the detection time, and as
    /// [`Policy::detect`] says otherwise.
    ///
    /// # Errors
    /// [`Contradiction`] when the outage to survive is not shorter than the detection time.
    pub fn policy(&self) -> Result<Policy, Contradiction> {
        let mut policy = Policy::detect(self.detect.unwrap_or(Self::DETECT));
        if let Some(outage) = self.tolerate {
            policy = policy.survive(outage);
        }
        if let Some(timeout) = self.nat {
            policy = policy.mapping_timeout(timeout);
        }
        if let Some(BytesPerDay(bytes)) = self.budget {
            policy = policy.bytes_per_day(bytes);
        }
        policy
            .slow_readers(self.slow_readers.unwrap_or(false))
            .accept_rto_ceiling(self.accept_rto_ceiling.unwrap_or(false))
            .best_effort(self.best_effort.unwrap_or(false))
            .build()
    }
}

/// What is wrong with a file of goals, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoalsError {
    /// The line, counted from 1, where one is to blame.
    pub line: Option<usize>,
    what: String,
}

impl fmt::Display for GoalsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for GoalsError {}

#[cfg(feature = "toml")]
mod file {
    use std::collections::BTreeMap;
    use std::fmt::Display;
    use std::ops::Range;
    use std::str::FromStr;

    use deadpeer_core::Span;
    use toml::{Spanned, Value};

    use super::{Goals, GoalsError};
    use crate::near::is_near;

    const KEYS: [&str; 7] =
        ["detect", "tolerate", "nat", "budget", "slow-readers", "accept-rto-ceiling", "best-effort"];

    impl Goals {
        /// Reads a file's text.
        ///
        /// # Errors
        /// [`GoalsError`] with the line: what is no TOML, no known key (with the one that was meant, where
        /// it is near), no value of its key.
        ///
        /// ```
        /// use deadpeer::Goals;
        ///
        /// let goals = Goals::from_toml("detect = '30s'\nbudget = '1MB/day'")?;
        /// assert_eq!(goals.budget.unwrap().0, 1_000_000);
        /// let error = Goals::from_toml("\ndetct = '30s'").unwrap_err();
        /// assert!(error.to_string().starts_with("line 2: there is no key `detct`, did you mean `detect`?"));
        /// # Ok::<(), deadpeer::GoalsError>(())
        /// ```
        pub fn from_toml(text: &str) -> Result<Self, GoalsError> {
            let entries: BTreeMap<Spanned<String>, Spanned<Value>> =
                toml::from_str(text).map_err(|error| at(text, error.span(), error.message().to_owned()))?;
            let mut goals = Self::default();
            for (key, value) in &entries {
                let result = match key.get_ref().as_str() {
                    "detect" => time(value).map(|time| goals.detect = Some(time)),
                    "tolerate" => time(value).map(|time| goals.tolerate = Some(time)),
                    "nat" => time(value).map(|time| goals.nat = Some(time)),
                    "budget" => parsed(value).map(|budget| goals.budget = Some(budget)),
                    "slow-readers" => yes_or_no(value).map(|yes| goals.slow_readers = Some(yes)),
                    "accept-rto-ceiling" => yes_or_no(value).map(|yes| goals.accept_rto_ceiling = Some(yes)),
                    "best-effort" => yes_or_no(value).map(|yes| goals.best_effort = Some(yes)),
                    unknown => return Err(at(text, Some(key.span()), no_such(unknown))),
                };
                result.map_err(|what| {
                    let what = format!("`{}`: {what}", key.get_ref());
                    at(text, Some(value.span()), what)
                })?;
            }
            Ok(goals)
        }
    }

    fn time(value: &Spanned<Value>) -> Result<std::time::Duration, String> {
        parsed(value).map(|Span(time)| time)
    }

    fn yes_or_no(value: &Spanned<Value>) -> Result<bool, String> {
        value.get_ref().as_bool().ok_or_else(|| "it is true or false".to_owned())
    }

    fn parsed<T: FromStr<Err: Display>>(value: &Spanned<Value>) -> Result<T, String> {
        // A bare number has no unit: its parser says what is missing.
        let text = match value.get_ref() {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.parse().map_err(|error: T::Err| error.to_string())
    }

    fn no_such(key: &str) -> String {
        let dashed = key.replace('_', "-").to_lowercase();
        let near = KEYS.iter().find(|known| **known == dashed || is_near(known, &dashed));
        let meant = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        format!("there is no key `{key}`{meant}; keys: {}", KEYS.join(", "))
    }

    fn at(text: &str, span: Option<Range<usize>>, what: String) -> GoalsError {
        let line = span.and_then(|span| Some(text.get(..span.start)?.matches('\n').count() + 1));
        GoalsError { line, what }
    }

    #[cfg(test)]
    mod tests {
        use std::time::Duration;

        use super::*;

        proptest::proptest! {
            #[test]
            fn no_text_makes_it_panic(text in "\\PC*", key in "[a-z=\\[\\]\"'. \n-]{0,40}") {
                let _ = Goals::from_toml(&text);
                let _ = Goals::from_toml(&key);
                let _ = Goals::from_toml(&format!("detect = '{text}'"));
            }
        }

        #[test]
        fn all_keys() {
            let text = "detect = '30s'\ntolerate = '8s'\nnat = '350s'\nbudget = '1MB/day'\n\
                        slow-readers = true\naccept-rto-ceiling = true\nbest-effort = true";
            let goals = Goals::from_toml(text).unwrap();
            let policy = goals.policy().unwrap();
            assert!(policy.slow_readers() && policy.accepts_rto_ceiling() && policy.is_best_effort());
            assert_eq!(
                (goals.detect, goals.tolerate),
                (Some(Duration::from_secs(30)), Some(Duration::from_secs(8)))
            );
            assert_eq!((goals.nat, goals.slow_readers), (Some(Duration::from_secs(350)), Some(true)));
            assert_eq!(Goals::from_toml("").unwrap(), Goals::default());
        }

        #[test]
        fn errors_name_the_line_and_what_would_do() {
            for (text, expected) in [
                ("detect = 30", "line 1: `detect`: a time is a number with its unit: 500ms, 3s, 2m, 1h"),
                (
                    "\n\nbudget = '1MB'",
                    "line 3: `budget`: a budget is a number with its units: 1MB/day, 20kB/h",
                ),
                ("slow-readers = 'yes'", "line 1: `slow-readers`: it is true or false"),
                (
                    "slow_readers = true",
                    "line 1: there is no key `slow_readers`, did you mean `slow-readers`?",
                ),
                ("[policy]\ndetect = '3s'", "line 1: there is no key `policy`; keys: detect, tolerate"),
                ("detect = '3s'\ndetect = '4s'", "line 2: duplicate key"),
                ("detect", "line 1: "),
            ] {
                let error = Goals::from_toml(text).unwrap_err().to_string();
                assert!(error.starts_with(expected), "{text}: {error}");
            }
        }
    }
}
