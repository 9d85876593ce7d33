//! The matrix as people read it.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{Attribute, Cell as Field, Color, Table};

use super::cell::{Cell, Expected, Mark, Outcome};
use super::classic::Classic;
use super::expect::World;
use super::fault::Fault;
use super::method::Method;
use super::scene::{SET, system};
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
        let cells = of(cells, fault)
            .map(|cell| coloured(format!("{}\n{}", measured(cell), beside(cell)), cell.mark(), terminal));
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
                Field::new(beside(cell)),
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

/// What was to be expected, where it was tried.
pub(super) fn beside(cell: &Cell) -> String {
    if cell.mark() == Mark::LeftOut { String::new() } else { range(cell.expected) }
}

/// What was to be expected.
fn range(expected: Expected) -> String {
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

/// Writes what else there is to know: the system, what was left out, what lay outside its range.
pub(super) fn write_notes(
    out: &mut impl Write,
    cells: &[Cell],
    world: &World,
    lateness: Duration,
) -> io::Result<()> {
    writeln!(
        out,
        "\nMeasured on {}{SET}; sleeping threads woke up to {} late.",
        system(),
        seconds(lateness)
    )?;
    for method in Method::ALL {
        writeln!(out, "  {:14} {}", method.as_str(), described(method, world))?;
    }
    for (why, names) in left_out(cells) {
        writeln!(out, "left out: {}: {why}", names.join(", "))?;
    }
    for cell in cells {
        if !cell.is_as_expected() {
            let name = format!("{} by {}", cell.fault.as_str(), cell.method.as_str());
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

/// A method, and why it is not there if so.
pub(super) fn described(method: Method, world: &World) -> String {
    let words = method.words(&world.platform);
    match world.lacks(method) {
        Some(why) => format!("{words}; not here: {why}"),
        None => words,
    }
}

/// What was left out, each reason once: whole faults by their names, of others the cells.
fn left_out(cells: &[Cell]) -> Vec<(&str, Vec<String>)> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for fault in Fault::ALL {
        let why = |cell: &'_ Cell| match (cell.mark(), cell.outcomes.first()) {
            (Mark::LeftOut, Some(Outcome::LeftOut { why })) => Some(why.clone()),
            _ => None,
        };
        let tried: Vec<_> = of(cells, fault).filter(|cell| cell.mark() != Mark::NotApplicable).collect();
        let whole = tried.windows(2).all(|two| why(two[0]) == why(two[1]));
        for cell in tried {
            let Some(Outcome::LeftOut { why }) =
                cell.outcomes.first().filter(|_| cell.mark() == Mark::LeftOut)
            else {
                continue;
            };
            let name = match whole {
                true => fault.as_str().to_owned(),
                false => format!("{} by {}", fault.as_str(), cell.method.as_str()),
            };
            match reasons.iter_mut().find(|(reason, _)| reason == why) {
                Some((_, names)) if names.contains(&name) => {}
                Some((_, names)) => names.push(name),
                None => reasons.push((why, vec![name])),
            }
        }
    }
    reasons
}
