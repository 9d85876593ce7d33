//! The table: a row for each kernel, a column for each check.

use std::fmt;
use std::time::Duration;

use comfy_table::{Table, presets};

use super::archive::Series;
use super::checks::Check;
use super::outcome::Outcome;

/// What came of one kernel.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) kernel: String,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) took: Duration,
}

/// What came of all.
#[derive(Debug)]
pub(super) struct Report {
    names: Vec<&'static str>,
    rows: Vec<Row>,
    /// What could not be had, and why.
    missing: Vec<(Series, String)>,
}

impl Report {
    pub(super) fn new(checks: &[&'static Check]) -> Self {
        Self { names: checks.iter().map(|check| check.name).collect(), rows: Vec::new(), missing: Vec::new() }
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(super) fn missing(&mut self, series: Series, why: String) {
        self.missing.push((series, why));
    }

    pub(super) fn has_failures(&self) -> bool {
        self.rows.iter().any(|row| row.outcomes.iter().any(Outcome::is_failure))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["kernel"].iter().chain(&self.names).chain(&["took"]));
        for row in &self.rows {
            let cells = row.outcomes.iter().map(ToString::to_string);
            let took = format!("{} s", row.took.as_secs());
            table.add_row(std::iter::once(row.kernel.clone()).chain(cells).chain([took]));
        }
        write!(f, "{table}")?;
        for (series, why) in &self.missing {
            write!(f, "\nskipped: {series}: {why}")?;
        }
        Ok(())
    }
}
