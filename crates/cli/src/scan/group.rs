//! `--group-by`: a line a group instead of a line a connection.

use std::collections::BTreeMap;
use std::io::{self, Write};

use deadpeer::host::Finding;
use deadpeer::{Known, Verdict};
use serde_json::json;

use super::args::GroupBy;

/// Writes the groups, the largest first.
pub(super) fn write(
    out: &mut impl Write,
    findings: &[Finding<'_>],
    key: GroupBy,
    as_json: bool,
    limit: usize,
) -> io::Result<()> {
    let mut groups: BTreeMap<String, BTreeMap<Verdict, usize>> = BTreeMap::new();
    for finding in findings {
        *groups.entry(name(finding, key)).or_default().entry(finding.verdict).or_default() += 1;
    }
    let mut groups: Vec<_> = groups
        .into_iter()
        .map(|(name, verdicts)| (verdicts.values().sum::<usize>(), name, verdicts))
        .collect();
    groups.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    for (total, name, verdicts) in groups.into_iter().take(limit) {
        if as_json {
            let verdicts: serde_json::Map<_, _> =
                verdicts.iter().map(|(verdict, count)| (verdict.as_str().to_owned(), json!(count))).collect();
            writeln!(out, "{}", json!({ "group": name, "connections": total, "verdicts": verdicts }))?;
        } else {
            let verdicts: Vec<_> =
                verdicts.iter().rev().map(|(verdict, count)| format!("{count} {verdict}")).collect();
            let noun = if total == 1 { "connection" } else { "connections" };
            let to = if key == GroupBy::Peer { "to" } else { "of" };
            writeln!(out, "{total} {noun} {to} {name}: {}", verdicts.join(", "))?;
        }
    }
    Ok(())
}

fn name(finding: &Finding<'_>, key: GroupBy) -> String {
    let process = match &finding.connection.owner {
        Known::Is(owner) => Some(&owner.process),
        Known::Not(_) => None,
    };
    let or_unknown = |name: Option<&String>| name.map_or_else(|| "unknown".to_owned(), Clone::clone);
    match key {
        GroupBy::Peer => finding.connection.row.peer.ip().to_string(),
        GroupBy::Process => or_unknown(process.and_then(|process| process.name.as_ref())),
        GroupBy::Unit => or_unknown(process.and_then(|process| process.unit.as_ref())),
        GroupBy::Verdict => finding.verdict.to_string(),
    }
}
