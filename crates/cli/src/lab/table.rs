//! The matrix as people read it.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{Attribute, Cell as Field, Color, Table};

use super::cell::{Cell, Expected, Mark, Outcome};
use super::classic::Classic;
use super::fault::Fault;
use super::method::Method;
use crate::terminal::{Terminal, write_table};

/// The matrix needs this many columns; below, there is a list for each fault.
const MATRIX: u16 = 132;

/// Writes the cells.
pub(super) fn write(out: &mut impl Write, cells: &[Cell], terminal: Terminal) -> io::Result<()> {
    let wide = terminal.width.is_none_or(|width| width >= MATRIX);
    let mut table = terminal.table();
    match wide {
        true => matrix(&mut table, cells, terminal),
        false => list(&mut table, cells, terminal),
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    write_table(out, &table)
}

fn of(cells: &[Cell], fault: Fault) -> impl Iterator<Item = &Cell> {
    cells.iter().filter(move |cell| cell.fault == fault)
}

/// A row a fault, a column a method; the expected range below the measured time.
fn matrix(table: &mut Table, cells: &[Cell], terminal: Terminal) {
    let heading = Method::ALL.map(|method| method.as_str().to_uppercase());
    table.set_header(["FAULT".to_owned()].into_iter().chain(heading));
    for fault in Fault::ALL {
        let cells = of(cells, fault).map(|cell| {
            coloured(format!("{}\n{}", measured(cell), range(cell.expected)), cell.mark(), terminal)
        });
        table.add_row([Field::new(fault.words())].into_iter().chain(cells));
    }
}

/// A few lines a fault.
fn list(table: &mut Table, cells: &[Cell], terminal: Terminal) {
    table.set_header(["FAULT, METHOD", "MEASURED", "EXPECTED", "HOW"]);
    for fault in Fault::ALL {
        table.add_row([fault.words(), "", "", ""]);
        for cell in of(cells, fault) {
            table.add_row([
                Field::new(format!("  {}", cell.method.as_str())),
                coloured(measured(cell), cell.mark(), terminal),
                Field::new(range(cell.expected)),
                Field::new(cell.how().unwrap_or_default()),
            ]);
        }
    }
}

fn coloured(text: String, mark: Mark, terminal: Terminal) -> Field {
    let field = Field::new(text);
    if !terminal.colour {
        return field;
    }
    match mark {
        Mark::Noticed | Mark::Lives => field.fg(Color::Green),
        Mark::Never | Mark::NotInRun => field.fg(Color::Yellow),
        Mark::FalseAlarm => field.fg(Color::Red).add_attribute(Attribute::Bold),
        Mark::NotApplicable | Mark::LeftOut => field.fg(Color::DarkGrey),
    }
}

/// The median of the runs that noticed, or what came of it otherwise.
pub(super) fn measured(cell: &Cell) -> String {
    let time = cell.median().map(seconds).unwrap_or_default();
    match cell.mark() {
        Mark::Noticed if cell.outcomes.len() > 1 => {
            let times = cell.times();
            let missed = cell.outcomes.len() - times.len();
            let missed = if missed > 0 { format!(", {missed} missed") } else { String::new() };
            let least = times.first().copied().unwrap_or_default();
            // The 99th of a hundred; of fewer runs the longest.
            let p99 = times[(times.len() * 99).div_ceil(100).clamp(1, times.len()) - 1];
            format!("{time} ({}–{}{missed})", seconds(least), seconds(p99))
        }
        Mark::Noticed => time,
        Mark::Lives => "lives".to_owned(),
        Mark::Never => "never".to_owned(),
        Mark::NotInRun => "not in this run".to_owned(),
        Mark::FalseAlarm => format!("FALSE ALARM {time}"),
        Mark::NotApplicable => "–".to_owned(),
        Mark::LeftOut => "left out".to_owned(),
    }
}

/// What was to be expected.
pub(super) fn range(expected: Expected) -> String {
    match expected {
        Expected::Within { most: Duration::ZERO, .. } => "at once".to_owned(),
        Expected::Within { least, most } => format!("{}–{}", seconds(least), seconds(most)),
        Expected::Never => "never".to_owned(),
        Expected::NotApplicable => String::new(),
    }
}

pub(super) fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 0.095 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{seconds:.1} s"),
    }
}

/// Writes the classic settings beside their predictions.
pub(super) fn write_classics(
    out: &mut impl Write,
    classics: &[Classic],
    terminal: Terminal,
    lateness: Duration,
) -> io::Result<()> {
    if classics.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nKeepalive alone, idle, the peer's host dies (idle s / interval s / probes):\n")?;
    for classic in classics {
        let measured = match &classic.outcome {
            Outcome::Noticed { after, how } => format!("{} ({how})", seconds(*after)),
            Outcome::Not { watched } => format!("not within {}", seconds(*watched)),
            Outcome::LeftOut { why } => format!("left out: {why}"),
        };
        let wrong = if classic.is_as_expected(lateness) { "" } else { "  OUTSIDE" };
        let wrong = if terminal.colour && !wrong.is_empty() { "\x1b[31m  OUTSIDE\x1b[0m" } else { wrong };
        let range = format!("{}–{}", seconds(classic.least), seconds(classic.most));
        writeln!(out, "  {:8} {measured:22} expected {range}{wrong}", classic.name)?;
    }
    Ok(())
}

/// Writes what else there is to know: the kernel, what was left out, what lay outside its range.
pub(super) fn write_notes(out: &mut impl Write, cells: &[Cell], lateness: Duration) -> io::Result<()> {
    let kernel = rustix::system::uname();
    let release = kernel.release().to_string_lossy().into_owned();
    writeln!(
        out,
        "\nMeasured on Linux {release}, tcp_retries2 = 6, tcp_fin_timeout = 6 s; sleeping threads woke up to {} late.",
        seconds(lateness)
    )?;
    for method in Method::ALL {
        writeln!(out, "  {:14} {}", method.as_str(), method.words())?;
    }
    for cell in cells {
        let name = format!("{} by {}", cell.fault.as_str(), cell.method.as_str());
        if let (Mark::LeftOut, Some(Outcome::LeftOut { why })) = (cell.mark(), cell.outcomes.first()) {
            writeln!(out, "left out: {name}: {why}")?;
        }
        if !cell.is_as_expected() {
            writeln!(
                out,
                "OUTSIDE its range: {name}: {}, expected {}",
                measured(cell),
                range(cell.expected)
            )?;
        }
    }
    Ok(())
}
