//! What this machine can't do.

use std::fmt;
use std::io::{self, Write};

/// The name of the environment variable that turns skipped tests into failed ones.
const REQUIRED: &str = "DEADPEER_LAB_REQUIRED";

/// This machine, or this user, can't have what was asked for. Tests turn it into a visible [`skip`], never
/// into a pass.
#[derive(Debug)]
pub struct Unavailable {
    /// What it takes.
    pub needs: &'static str,
    /// What happened instead.
    pub why: io::Error,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.needs, self.why)
    }
}

impl std::error::Error for Unavailable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

/// Says on standard error that `test` was skipped, where the test harness does not hide it.
///
/// # Panics
/// If the environment has `DEADPEER_LAB_REQUIRED`: where every test must run, skipping is failing.
pub fn skip(test: &str, why: &Unavailable) {
    assert!(
        std::env::var_os(REQUIRED).is_none(),
        "{test} must not be skipped ({REQUIRED} is set), but {why}"
    );
    // Not `eprintln!`, which the harness captures, and then forgets because the test "passed".
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
}
