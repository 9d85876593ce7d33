//! JSON Lines: one object a cell. The keys are documented in docs/json.md and never absent.

use std::io::{self, Write};
use std::time::Duration;

use deadpeer_lab::release;
use serde_json::{Value, json};

use super::cell::{Cell, Expected, Outcome};
use super::classic::Classic;

const SCHEMA: u32 = 1;

/// Writes the cells, then the classic settings.
pub(super) fn write(out: &mut impl Write, cells: &[Cell], classics: &[Classic]) -> io::Result<()> {
    let kernel = release();
    for cell in cells {
        let times = cell.times();
        let (kind, least, most) = match cell.expected {
            Expected::Within { least, most } => ("within", Some(least), Some(most)),
            Expected::Never => ("never", None, None),
            Expected::NotApplicable => ("not-applicable", None, None),
        };
        let runs: Vec<_> = cell.outcomes.iter().map(outcome).collect();
        let line = json!({
            "schema": SCHEMA,
            "kernel": kernel,
            "fault": cell.fault.as_str(),
            "method": cell.method.as_str(),
            "mark": cell.mark().as_str(),
            "as_expected": cell.is_as_expected(),
            "expected": { "kind": kind, "least_ms": least.map(millis), "most_ms": most.map(millis) },
            "least_ms": times.first().copied().map(millis),
            "median_ms": cell.median().map(millis),
            "p99_ms": times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied().map(millis),
            "how": cell.how(),
            "lateness_ms": millis(cell.lateness),
            "runs": runs,
        });
        writeln!(out, "{line}")?;
    }
    for classic in classics {
        let line = json!({
            "schema": SCHEMA,
            "kernel": kernel,
            "keepalive": classic.name,
            "expected": { "kind": "within", "least_ms": millis(classic.least), "most_ms": millis(classic.most) },
            "runs": [outcome(&classic.outcome)],
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn outcome(outcome: &Outcome) -> Value {
    let (after, watched, how, why) = match outcome {
        Outcome::Noticed { after, how } => (Some(*after), None, Some(how), None),
        Outcome::Not { watched } => (None, Some(*watched), None, None),
        Outcome::LeftOut { why } => (None, None, None, Some(why)),
    };
    json!({
        "after_ms": after.map(millis),
        "watched_ms": watched.map(millis),
        "how": how,
        "left_out": why,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
