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

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use deadpeer::host::Namespace;
use deadpeer_lab::Loopback;

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

/// Tells the second self that it is inside.
const INSIDE: &str = "DEADPEER_LAB_INSIDE";

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
    if env::var_os(INSIDE).is_some() {
        return inside(args);
    }
    // Ctrl-C reaches both; the one inside prints what it has and ends.
    let _cancel = signals::cancel()?;
    let mut again = Command::new(env::current_exe()?);
    again.args(env::args_os().skip(1)).env(INSIDE, "1");
    let status = Loopback::isolate(&mut again).status().map_err(|error| {
        format!(
            "the lab needs a network namespace of its own ({error}): allow user namespaces, or run it as root"
        )
    })?;
    match status.code() {
        Some(0) => Ok(Ended::Well),
        Some(1) => Ok(Ended::Found),
        Some(2) => Err("the lab did not come to its end, see above".into()),
        _ => Ok(Ended::Interrupted),
    }
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
    let (places, others) = (Mutex::default(), Mutex::default());
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
                        let places = if n == 0 { &places } else { &others };
                        scope.spawn(move || once(args.seed.wrapping_add(n), world, limits, cancel, places))
                    })
                    .collect();
                running.into_iter().filter_map(|run| run.join().ok()).collect()
            });
            for found in found {
                add(&mut cells, &world, found);
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
        let places = places.into_inner().unwrap_or_else(PoisonError::into_inner);
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
    places: &Mutex<Vec<Place>>,
) -> Vec<(Fault, Method, Outcome)> {
    let found = Found::default();
    Run { world: *world, limits, seed, cancel, found: &found, places }.run();
    Mutex::into_inner(found).unwrap_or_else(PoisonError::into_inner)
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
