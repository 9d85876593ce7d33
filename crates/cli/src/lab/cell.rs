//! One fault met by one method: what was to be expected, and what was seen.

use std::time::Duration;

use super::fault::Fault;
use super::method::Method;

/// What the formulas say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// It is noticed within this range after the fault.
    Within { least: Duration, most: Duration },
    /// Nothing ever notices.
    Never,
    /// The method has nothing to look at here.
    NotApplicable,
}

impl Expected {
    /// The same, counted from so much later.
    pub(super) fn sooner_by(self, before: Duration) -> Self {
        match self {
            Self::Within { least, most } => Self::Within { least: least.saturating_sub(before), most },
            Self::Never | Self::NotApplicable => self,
        }
    }

    /// What is to be expected of several runs.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Within { least: a, most: b }, Self::Within { least: c, most: d }) => {
                Self::Within { least: a.min(c), most: b.max(d) }
            }
            _ => self,
        }
    }
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was noticed.
    Noticed { after: Duration, how: String },
    /// It was not, for so long.
    Not { watched: Duration },
    /// It was not tried.
    LeftOut { why: String },
}

/// What is to be thought of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Noticed, as it should be.
    Noticed,
    /// The connection is healthy and lived.
    Lives,
    /// The fault was missed.
    Never,
    /// It would take longer than the run.
    NotInRun,
    /// A healthy connection was given up.
    FalseAlarm,
    /// Nothing to look at.
    NotApplicable,
    /// Not tried.
    LeftOut,
}

impl Mark {
    /// Its name in kebab case, stable.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Noticed => "noticed",
            Self::Lives => "lives",
            Self::Never => "never",
            Self::NotInRun => "not-in-run",
            Self::FalseAlarm => "false-alarm",
            Self::NotApplicable => "not-applicable",
            Self::LeftOut => "left-out",
        }
    }
}

/// A fault met by a method in one run.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) fault: Fault,
    pub(super) method: Method,
    pub(super) expected: Expected,
    pub(super) outcome: Outcome,
}

/// A fault met by a method.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) fault: Fault,
    pub(super) method: Method,
    pub(super) expected: Expected,
    /// One for each run.
    pub(super) outcomes: Vec<Outcome>,
    /// How late this machine woke a sleeping thread at the worst while it ran.
    pub(super) lateness: Duration,
}

impl Cell {
    /// The times of those runs that noticed, the shortest first.
    pub(super) fn times(&self) -> Vec<Duration> {
        let mut times: Vec<_> = self
            .outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Outcome::Noticed { after, .. } => Some(*after),
                _ => None,
            })
            .collect();
        times.sort_unstable();
        times
    }

    /// The time that half of the runs kept.
    pub(super) fn median(&self) -> Option<Duration> {
        let times = self.times();
        times.get(times.len() / 2).copied()
    }

    /// How the first run that noticed did.
    pub(super) fn how(&self) -> Option<&str> {
        self.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Noticed { how, .. } => Some(how.as_str()),
            _ => None,
        })
    }

    /// What is to be thought of it.
    pub(super) fn mark(&self) -> Mark {
        match self.outcomes.first() {
            _ if self.expected == Expected::NotApplicable => Mark::NotApplicable,
            Some(Outcome::LeftOut { .. }) | None => Mark::LeftOut,
            Some(_) if !self.times().is_empty() => match self.fault.is_healthy() {
                true => Mark::FalseAlarm,
                false => Mark::Noticed,
            },
            Some(_) if self.fault.is_healthy() => Mark::Lives,
            Some(_) if matches!(self.expected, Expected::Within { .. }) => Mark::NotInRun,
            Some(_) => Mark::Never,
        }
    }

    /// Whether every run lies in the expected range: timers late by no more than the prediction allows, half
    /// a second for the programs, and what this machine was late by itself. Never early.
    pub(super) fn is_as_expected(&self) -> bool {
        const PROGRAMS: Duration = Duration::from_millis(500);
        const CLOCK: Duration = Duration::from_millis(50);
        self.outcomes.iter().all(|outcome| match (outcome, self.expected) {
            (Outcome::LeftOut { .. }, _) => true,
            (Outcome::Noticed { after, .. }, Expected::Within { least, most }) => {
                *after + CLOCK >= least && *after <= most + PROGRAMS + self.lateness
            }
            (Outcome::Not { watched }, Expected::Within { most, .. }) => *watched < most,
            (Outcome::Not { .. }, _) => true,
            (Outcome::Noticed { .. }, _) => false,
        })
    }
}
