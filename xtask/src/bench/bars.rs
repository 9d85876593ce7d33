//! What the command is to reach.

use std::fmt;

use super::report::number;

/// A bar, and whether the command holds it in this run.
#[derive(Debug)]
pub(super) struct Bar {
    what: String,
    holds: Option<bool>,
    measured: String,
}

impl Bar {
    /// `value`, which is printed with its unit, must not be above `most`.
    pub(super) fn at_most(what: impl Into<String>, value: f64, most: f64, unit: &str) -> Self {
        Self { what: what.into(), holds: Some(value <= most), measured: format!("{} {unit}", number(value)) }
    }

    /// `value`, which is printed with its unit, must not be below `least`.
    pub(super) fn at_least(what: impl Into<String>, value: f64, least: f64, unit: &str) -> Self {
        Self { what: what.into(), holds: Some(value >= least), measured: format!("{} {unit}", number(value)) }
    }

    /// Nothing was measured by which it could be judged.
    pub(super) fn not_judged(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), holds: None, measured: why.into() }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = match self.holds {
            Some(true) => "holds",
            Some(false) => "MISSED",
            None => "not judged",
        };
        write!(f, "{holds}: {} ({})", self.what, self.measured)
    }
}
