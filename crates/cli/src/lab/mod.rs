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
mod peer;
mod progress;
#[cfg(target_os = "linux")]
mod prove;
mod run;
#[cfg_attr(not(target_os = "linux"), path = "scene_elsewhere.rs")]
mod scene;
#[cfg(target_os = "linux")]
mod shock;
mod table;
#[cfg(target_os = "linux")]
mod wire;

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::exit::{Ended, unless_closed};
use crate::signals;
use crate::terminal::Terminal;
use args::Lab;
use cell::{Cell, Expected, Outcome, Seen};
use expect::{World, expected, why_not};
use fault::Fault;
use method::Method;
use progress::Progress;
use run::{Found, Limits, Place, Run};

/// Runs `deadpeer lab`.
pub(crate) fn run(args: &Lab) -> Result<Ended, Box<dyn Error>> {
    match &args.command {
        Some(args::Command::Peer(args)) => {
            return peer::be(args).map(|()| Ended::Well).map_err(Into::into);
        }
        #[cfg(target_os = "linux")]
        Some(args::Command::Undo { what }) => return shock::undo(what),
        #[cfg(target_os = "linux")]
        Some(args::Command::Prove(args)) => return prove::run(args),
        #[cfg(not(target_os = "linux"))]
        Some(args::Command::Undo { .. } | args::Command::Prove(_)) => {
            return crate::elsewhere::only_on_linux("lab prove");
        }
        None => {}
    }
    scene::alone(|| measure(args))
}

fn measure(args: &Lab) -> Result<Ended, Box<dyn Error>> {
    let cancel = signals::cancel()?;
    let world = scene::world()?;
    let limits = scene::limits(args.full);
    let progress = Progress::start(args, limits.usual);
    let stop = AtomicBool::new(false);
    let mut cells = Vec::new();
    let mut classics = Vec::new();
    let mut places = Vec::new();
    let mut failed = None;
    let (lateness, passed) = thread::scope(|scope| {
        let lateness = scope.spawn(|| run::lateness(&stop));
        // The page shows the first run's segments.
        #[cfg(target_os = "linux")]
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
                        scope.spawn(move || {
                            scene::apart(n, || once(args.seed.wrapping_add(n), world, limits, cancel))
                        })
                    })
                    .collect();
                running.into_iter().filter_map(|run| run.join().ok()).collect()
            });
            for run in found {
                let (found, ends) = match run {
                    Ok(run) => run,
                    Err(error) => {
                        failed = Some(error);
                        continue;
                    }
                };
                add(&mut cells, &world, found);
                if places.is_empty() {
                    places = ends;
                }
            }
            if cancel.load(Ordering::Relaxed) || failed.is_some() {
                break;
            }
        }
        classics = classic.and_then(|classic| classic.join().ok()).unwrap_or_default();
        stop.store(true, Ordering::Relaxed);
        #[cfg(target_os = "linux")]
        let passed = {
            let segments = captured.and_then(|captured| captured.join().ok()).unwrap_or_default();
            wire::assign(&segments, &places)
        };
        #[cfg(not(target_os = "linux"))]
        let passed = Vec::new();
        (lateness.join().unwrap_or_default(), passed)
    });
    progress.clear();
    if let Some(error) = failed {
        return Err(format!("a run could not have a network namespace of its own: {error}").into());
    }
    for cell in &mut cells {
        cell.lateness = lateness;
    }
    if let Some(path) = &args.html {
        let page = html::page(&cells, &classics, &passed, &world, lateness);
        let written = fs::write(path, page);
        written.map_err(|error| format!("{} can't be written: {error}", path.display()))?;
    }
    unless_closed(write(args, &cells, &classics, &world, lateness))?;
    let interrupted = cancel.load(Ordering::Relaxed);
    let wrong = cells.iter().any(|cell| !cell.is_as_expected())
        || classics.iter().any(|classic| !classic.is_as_expected(lateness));
    Ok(match (interrupted, wrong) {
        (true, _) => Ended::Interrupted,
        (false, true) => Ended::Found,
        (false, false) => Ended::Well,
    })
}

/// One run of all faults.
fn once(seed: u64, world: &World, limits: Limits, cancel: &AtomicBool) -> (Vec<Seen>, Vec<Place>) {
    let found = Found::default();
    let places = Run { world, limits, seed, cancel, found: &found }.run();
    (Mutex::into_inner(found).unwrap_or_else(PoisonError::into_inner), places)
}

/// Adds a run's outcomes to their cells.
fn add(cells: &mut Vec<Cell>, world: &World, mut found: Vec<Seen>) {
    for fault in Fault::ALL {
        for method in Method::ALL {
            let at = found.iter().position(|seen| (seen.fault, seen.method) == (fault, method));
            let (expected, outcome) = match at.map(|at| found.swap_remove(at)) {
                Some(seen) => (seen.expected, seen.outcome),
                None => match expected(fault, method, world) {
                    Expected::NotApplicable => {
                        let why = why_not(fault, method, world);
                        (Expected::NotApplicable, Outcome::LeftOut { why })
                    }
                    expected => (expected, Outcome::LeftOut { why: "it was not reached".into() }),
                },
            };
            match cells.iter_mut().find(|cell| (cell.fault, cell.method) == (fault, method)) {
                Some(cell) => {
                    cell.expected = cell.expected.or(expected);
                    cell.outcomes.push(outcome);
                }
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

fn write(
    args: &Lab,
    cells: &[Cell],
    classics: &[classic::Classic],
    world: &World,
    lateness: Duration,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        json::write(&mut out, cells, classics)?;
    } else {
        let terminal = Terminal::of_stdout();
        table::write(&mut out, cells, terminal)?;
        table::write_classics(&mut out, classics, terminal, lateness)?;
        table::write_notes(&mut out, cells, world, lateness)?;
    }
    out.flush()
}
