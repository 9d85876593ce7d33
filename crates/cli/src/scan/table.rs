//! The table: what a person reads.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell, Color, ColumnConstraint};
use deadpeer::host::Finding;
use deadpeer::{Bound, Known, Span, Verdict};

use super::args::Column;
use crate::terminal::{Terminal, write_table};

/// What is shown unless columns were chosen: the first of these that leaves the evidence some room.
const LAYOUTS: [&[Column]; 3] = [
    &[
        Column::Verdict,
        Column::Peer,
        Column::Local,
        Column::Process,
        Column::Idle,
        Column::Detection,
        Column::Evidence,
    ],
    &[Column::Verdict, Column::Peer, Column::Process, Column::Evidence],
    &[Column::Verdict, Column::Peer, Column::Evidence],
];
/// The evidence is wrapped to no less than this.
const ROOM: usize = 32;
/// Between two columns.
const PADDING: usize = 2;

/// Writes a header and a row for each finding; nothing for none.
pub(crate) fn write(
    out: &mut impl Write,
    findings: &[&Finding<'_>],
    chosen: &[Column],
    terminal: Terminal,
) -> io::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let room = terminal.width.map_or(usize::MAX, usize::from);
    let fits = |columns: &[Column]| width(findings, columns) + ROOM <= room;
    let columns = match chosen {
        [] => LAYOUTS.into_iter().find(|columns| fits(columns)).unwrap_or(LAYOUTS[2]),
        _ => chosen,
    };
    let mut table = terminal.table();
    table.set_header(columns.iter().map(|column| heading(*column)));
    for finding in findings {
        table.add_row(columns.iter().map(|column| cell(finding, *column, terminal)));
    }
    let whole = fits(columns);
    for (settings, column) in table.column_iter_mut().zip(columns) {
        settings.set_padding((0, PADDING as u16));
        if whole && *column != Column::Evidence {
            settings.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    write_table(out, &table)
}

/// The width of all columns but the evidence.
fn width(findings: &[&Finding<'_>], columns: &[Column]) -> usize {
    let columns = columns.iter().filter(|column| **column != Column::Evidence);
    columns
        .map(|column| {
            let cells = findings.iter().map(|finding| text(finding, *column).chars().count());
            cells.max().unwrap_or(0).max(heading(*column).len()) + PADDING
        })
        .sum()
}

fn heading(column: Column) -> &'static str {
    match column {
        Column::Verdict => "VERDICT",
        Column::Peer => "PEER",
        Column::Local => "LOCAL",
        Column::State => "STATE",
        Column::Process => "PROCESS",
        Column::Pid => "PID",
        Column::Uid => "UID",
        Column::Unit => "UNIT",
        Column::Netns => "NETNS",
        Column::Idle => "HEARD",
        Column::Rtt => "RTT",
        Column::Keepalive => "KEEPALIVE",
        Column::Detection => "DETECTS",
        Column::Queues => "SEND/RECV",
        Column::Cause => "CAUSE",
        Column::Evidence => "EVIDENCE",
    }
}

fn cell(finding: &Finding<'_>, column: Column, terminal: Terminal) -> Cell {
    let cell = Cell::new(text(finding, column));
    if column != Column::Verdict || !terminal.colour {
        return cell;
    }
    match finding.verdict {
        Verdict::Dead => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        Verdict::Suspect | Verdict::Leaked | Verdict::Stalled => cell.fg(Color::Yellow),
        Verdict::Alive => cell.fg(Color::Green),
        _ => cell.fg(Color::DarkGrey),
    }
}

fn text(finding: &Finding<'_>, column: Column) -> String {
    let connection = &finding.connection;
    let facts = connection.facts();
    let owner = match &connection.owner {
        Known::Is(owner) => Some(owner),
        Known::Not(_) => None,
    };
    let process = owner.map(|owner| &owner.process);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    match column {
        Column::Verdict => finding.verdict.to_string(),
        Column::Peer => connection.row.peer.to_string(),
        Column::Local => connection.row.local.to_string(),
        Column::State => facts.state.as_str().to_owned(),
        Column::Process => or_dash(owner.map(|owner| {
            let name = owner.process.name.as_deref().unwrap_or("?");
            let more = match owner.processes {
                0 | 1 => String::new(),
                count => format!(" +{}", count - 1),
            };
            format!("{name}/{}{more}", owner.process.pid)
        })),
        Column::Pid => or_dash(process.map(|process| process.pid.to_string())),
        Column::Uid => connection.row.uid.to_string(),
        Column::Unit => or_dash(process.and_then(|process| process.unit.clone())),
        Column::Netns => match connection.namespace.name() {
            Some(name) => name.to_owned(),
            None => connection.namespace.inode().to_string(),
        },
        Column::Idle => or_dash(facts.last_heard.value().map(|ago| Span(ago).to_string())),
        Column::Rtt => or_dash(facts.rtt.map(|rtt| Span(rtt).to_string())),
        Column::Keepalive => match connection.protection.keepalive {
            Known::Is(seen) if !seen.enabled => "off".to_owned(),
            Known::Is(seen) => seen.values.value().map_or_else(|| "on".to_owned(), |on| on.to_string()),
            Known::Not(_) => "?".to_owned(),
        },
        Column::Detection => {
            let detection = connection.detection();
            let short = |bound| match bound {
                Bound::Unknown(_) => "?".to_owned(),
                known => known.to_string(),
            };
            format!("{} / {}", short(detection.idle), short(detection.in_flight))
        }
        Column::Queues => {
            format!("{}/{}", u64::from(facts.in_flight) + u64::from(facts.unsent), facts.unread)
        }
        Column::Cause => finding.judgement().cause().to_string(),
        Column::Evidence => {
            let evidence: Vec<_> = finding.judgement().evidence().map(ToString::to_string).collect();
            evidence.join(", ")
        }
    }
}
