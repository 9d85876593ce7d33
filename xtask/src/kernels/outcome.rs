//! What came of one check: a cell of the table, and the evidence for it.

use std::fmt;

/// What came of a check.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) mark: Mark,
    /// What was counted, "28 of 29".
    pub(super) numbers: String,
    /// What failed, and how.
    pub(super) failures: Vec<String>,
    pub(super) output: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Pass,
    Fail,
    Skipped,
}

impl Outcome {
    pub(super) fn is_failure(&self) -> bool {
        self.mark == Mark::Fail
    }

    /// What failed and the end of what the check has printed; `all` of that if asked for.
    pub(super) fn evidence(&self, all: bool) -> String {
        const TAIL: usize = 40;
        const DETAILS: usize = 150;
        let mut text = String::new();
        for failure in &self.failures {
            text += &format!("    {failure}\n");
        }
        // Where a test program begins to tell of its failures.
        let details = self.output.iter().position(|line| line == "failures:");
        let (from, most) = match details {
            _ if all => (0, usize::MAX),
            Some(details) => (details, DETAILS),
            None => (self.output.len().saturating_sub(TAIL), TAIL),
        };
        for line in self.output.iter().skip(from).take(most) {
            text += &format!("    | {line}\n");
        }
        text
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::Pass => "pass",
            Mark::Fail => "FAIL",
            Mark::Skipped => "skipped",
        };
        let space = if self.numbers.is_empty() { "" } else { " " };
        write!(f, "{mark}{space}{}", self.numbers)
    }
}
