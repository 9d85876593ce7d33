//! The lines under the table.

use std::collections::BTreeMap;

use deadpeer::host::Finding;
use deadpeer::{Known, Verdict, Why};

/// "214 connections: 2 dead, 1 leaked, 211 alive".
pub(super) fn line(findings: &[Finding<'_>]) -> String {
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.verdict).or_default() += 1;
    }
    let total = findings.len();
    let noun = if total == 1 { "connection" } else { "connections" };
    if total == 0 {
        return format!("no {noun}");
    }
    let parts: Vec<_> = counts.iter().rev().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    format!("{total} {noun}: {}", parts.join(", "))
}

/// What to do next, for a person.
pub(super) fn hint(findings: &[Finding<'_>], probed: bool, listed: usize) -> Option<&'static str> {
    let unverified = findings.iter().any(|f| f.verdict == Verdict::Unverified);
    if findings.is_empty() {
        Some(
            "This machine is quiet. `deadpeer demo` shows what a living, a silent and a leaked one look like.",
        )
    } else if unverified && !probed {
        Some("Nothing proves the unverified ones alive: ask them with `deadpeer scan --probe` (as root).")
    } else if listed == 0 {
        Some("Nothing needs attention. `--all` lists everything.")
    } else {
        None
    }
}

/// How many could not be asked, and which right is missing.
pub(super) fn not_asked(findings: &[Finding<'_>]) -> Option<String> {
    let mut reasons: BTreeMap<Why, usize> = BTreeMap::new();
    for finding in findings {
        if let Some(Known::Not(why)) = finding.connection.facts().asked {
            *reasons.entry(why).or_default() += 1;
        }
    }
    let total: usize = reasons.values().sum();
    if total == 0 {
        return None;
    }
    let parts: Vec<_> = reasons.iter().map(|(why, count)| format!("{count}: {why}")).collect();
    let rights =
        reasons.keys().any(|why| matches!(why, Why::NoPermission | Why::NoNetAdmin | Why::OwnTimers));
    let advice = if rights { "; CAP_NET_ADMIN and CAP_SYS_PTRACE are missing (try sudo)" } else { "" };
    Some(format!("{total} could not be asked ({}){advice}", parts.join("; ")))
}
