//! `deadpeer lab`: every fault against every method, measured on this machine.

pub(crate) mod args;
mod cell;
mod classic;
mod end;
mod expect;
mod fault;
mod html;
mod json;
mod method;
mod observe;
mod progress;
mod prove;
mod run;
mod shock;
mod table;
mod wire;

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use deadpeer::host::Namespace;
use deadpeer_lab::Loopback;

use crate::alone::Alone;
use crate::exit::{Ended, unless_closed};
use crate::signals;
use crate::terminal::Terminal;
use args::Lab;
use cell::{Cell, Expected, Outcome};
use expect::{World, expected};
use fault::Fault;
use method::Method;
use progress::Progress;
use run::{Found, Limits, Place, Run};

const ALONE: Alone = Alone { name: "lab", inside: "DEADPEER_LAB_INSIDE" };

/// Runs `deadpeer lab`.
pub(crate) fn run(args: &Lab) -> Result<Ended, Box<dyn Error>> {
    match &args.command {
        Some(args::Command::Peer { beat }) => {
            return end::be_peer(*beat).map(|()| Ended::Well).map_err(Into::into);
        }
        Some(args::Command::Undo { what }) => return shock::undo(what),
        Some(args::Command::Prove(args)) => return prove::run(args),
        None => {}
    }
    if ALONE.is_inside() {
        return inside(args);
    }
    // Ctrl-C reaches both; the one inside prints what it has and ends.
    let _cancel = signals::cancel()?;
    ALONE.run_again(|error| {
        format!(
            "the lab needs a network namespace of its own ({error}): allow user namespaces, or run it as root"
        )
    })
}

fn inside(args: &Lab) -> Result<Ended, Box<dyn Error>> {
    let cancel = signals::cancel()?;
    Loopback::up()?;
    run::shorten(RETRIES, FIN_TIMEOUT)?;
    let world = World {
        platform: *Namespace::current()?.platform(),
        fin_timeout: FIN_TIMEOUT,
        outage: Duration::from_millis(700),
    };
    let seconds = Duration::from_secs;
    let limits = Limits { never: seconds(12), most: seconds(if args.full { 100 } else { 45 }) };
    let progress = Arc::new(Progress::start(args, limits.most));
    let stop = AtomicBool::new(false);
    let mut cells = Vec::new();
    let mut classics = Vec::new();
    let mut segments = Vec::new();
    let mut places = Vec::new();
    let lateness = thread::scope(|scope| {
        let lateness = scope.spawn(|| run::lateness(&stop));
        // The page shows the first run's segments.
        let captured = args.html.is_some().then(|| scope.spawn(|| wire::capture(&stop)));
        let classic = args.full.then(|| scope.spawn(|| classic::measure(&world, &cancel)));
        let runs = u64::from(args.runs.get());
        // A few at a time: each has hundreds of threads, which mostly wait.
        for first in (0..runs).step_by(4) {
            let many = first..(first + 4).min(runs);
            let found: Vec<_> = thread::scope(|scope| {
                let running: Vec<_> = many
                    .map(|n| {
                        let (cancel, world) = (&cancel, &world);
                        scope.spawn(move || once(args.seed.wrapping_add(n), world, limits, cancel))
                    })
                    .collect();
                running.into_iter().filter_map(|run| run.join().ok()).collect()
            });
            for (found, ends) in found {
                add(&mut cells, &world, found);
                if places.is_empty() {
                    places = ends;
                }
            }
            if cancel.load(Ordering::Relaxed) {
                break;
            }
        }
        classics = classic.and_then(|classic| classic.join().ok()).unwrap_or_default();
        stop.store(true, Ordering::Relaxed);
        segments = captured.and_then(|captured| captured.join().ok()).unwrap_or_default();
        lateness.join().unwrap_or_default()
    });
    progress.clear();
    for cell in &mut cells {
        cell.lateness = lateness;
    }
    if let Some(path) = &args.html {
        let passed = wire::assign(&segments, &places);
        let written = fs::write(path, html::page(&cells, &classics, &passed, lateness));
        written.map_err(|error| format!("{} can't be written: {error}", path.display()))?;
    }
    unless_closed(write(args, &cells, &classics, lateness))?;
    let interrupted = cancel.load(Ordering::Relaxed);
    let wrong = cells.iter().any(|cell| !cell.is_as_expected())
        || classics.iter().any(|classic| !classic.is_as_expected(lateness));
    Ok(match (interrupted, wrong) {
        (true, _) => Ended::Interrupted,
        (false, true) => Ended::Found,
        (false, false) => Ended::Well,
    })
}

const RETRIES: u8 = 6;
const FIN_TIMEOUT: Duration = Duration::from_secs(6);

/// One run of all faults.
fn once(
    seed: u64,
    world: &World,
    limits: Limits,
    cancel: &AtomicBool,
) -> (Vec<(Fault, Method, Outcome)>, Vec<Place>) {
    let found = Found::default();
    let places = Run { world: *world, limits, seed, cancel, found: &found }.run();
    (Mutex::into_inner(found).unwrap_or_else(PoisonError::into_inner), places)
}

/// Adds a run's outcomes to their cells.
fn add(cells: &mut Vec<Cell>, world: &World, mut found: Vec<(Fault, Method, Outcome)>) {
    for fault in Fault::ALL {
        for method in Method::ALL {
            let expected = expected(fault, method, world);
            let at = found.iter().position(|(f, m, _)| (*f, *m) == (fault, method));
            let outcome = match at {
                Some(at) => found.swap_remove(at).2,
                None if expected == Expected::NotApplicable => {
                    Outcome::LeftOut { why: "nothing to look at".into() }
                }
                None => Outcome::LeftOut { why: "it was not reached".into() },
            };
            match cells.iter_mut().find(|cell| (cell.fault, cell.method) == (fault, method)) {
                Some(cell) => cell.outcomes.push(outcome),
                None => cells.push(Cell {
                    fault,
                    method,
                    expected,
                    outcomes: vec![outcome],
                    lateness: Duration::ZERO,
                }),
            }
        }
    }
}

fn write(args: &Lab, cells: &[Cell], classics: &[classic::Classic], lateness: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        json::write(&mut out, cells, classics)?;
    } else {
        let terminal = Terminal::of_stdout();
        table::write(&mut out, cells, terminal)?;
        table::write_classics(&mut out, classics, terminal, lateness)?;
        table::write_notes(&mut out, cells, lateness)?;
    }
    out.flush()
}
