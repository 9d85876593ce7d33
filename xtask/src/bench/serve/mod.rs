//! `cargo xtask bench serve`: servers of thousands of idle sessions that beat.
//!
//! Servers and clients are processes of one namespace and speak over loopback. Only the server's processor time
//! counts; the [generator](generator) reads an answer just before it beats again, so that no server pays for
//! waking it.

mod client;
mod contestants;
mod generator;
mod load;
mod results;
mod rivals;
#[cfg(test)]
mod tests;
mod trial;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use super::hold::{allow_descriptors, capacity};
use super::machine::Machine;
use super::programs::Programs;
use super::report::{Style, thousands};
pub(super) use contestants::lacks_verb;
use contestants::{Arena, Contestant};
pub(super) use load::Load;
use results::Results;
pub(super) use rivals::Rival;
use trial::Procedure;

/// So many intervals may pass in silence.
const TOLERATED: u32 = 3;

/// How many beat how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    sessions: usize,
    interval: Duration,
}

impl Pace {
    /// Heartbeats a second.
    fn rate(self) -> usize {
        (self.sessions as f64 / self.interval.as_secs_f64()).round() as usize
    }
}

/// The three things that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Heat {
    /// All sessions beat every 10 s
    Idle,
    /// Half as many beat every second
    Busy,
    /// Memory under TLS
    Tls,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// How many sessions beat every 10 s; half as many beat every second
    #[arg(
        long,
        default_value_t = 18_000,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(100..)
    )]
    sessions: usize,
    /// How many sessions there are under TLS
    #[arg(
        long,
        default_value_t = 1_000,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(100..)
    )]
    tls_sessions: usize,
    /// How many of them fall silent at once at the end of each measurement
    #[arg(long, default_value_t = 500, value_name = "N")]
    silenced: usize,
    /// How many seconds the processor time is measured
    #[arg(long, default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    window: u64,
    /// How often each server is measured; medians count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure these servers only; repeatable
    #[arg(long, value_enum, value_name = "SERVER")]
    only: Vec<Contestant>,
    /// Measure this only; repeatable
    #[arg(long, value_enum, value_name = "HEAT")]
    heat: Vec<Heat>,
    /// How many loops `deadpeer serve` has. (The C program has one; tokio and Go have a thread a core.)
    #[arg(long, default_value_t = 1)]
    loops: u32,
    /// One more argument for `deadpeer serve`; repeatable
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    serve_argument: Vec<String>,
    /// Measure this binary of the command instead of building it
    #[arg(long, value_name = "PATH")]
    pub(super) deadpeer: Option<PathBuf>,
    #[command(flatten)]
    style: Style,
}

impl Serve {
    /// Measures, prints.
    pub(super) fn run(&self, programs: &Programs) -> Result<()> {
        // What this process may have, those that it starts have, too.
        allow_descriptors()?;
        if self.sessions > capacity() {
            bail!("one process can hold {} sessions here: raise `ulimit -Hn` or ask for fewer", capacity());
        }
        self.style.print_title("servers of sessions that beat");
        println!("{}", Machine::this());
        let mut arguments = vec!["--loops".to_owned(), self.loops.to_string()];
        arguments.extend(self.serve_argument.iter().cloned());
        println!("deadpeer serve {}", arguments.join(" "));

        eprintln!("building the rivals");
        let arena = Arena::build(&programs.deadpeer, arguments)?;
        let mut results = Results::default();
        let mut present = Vec::new();
        for &contestant in Contestant::value_variants() {
            match arena.absent(contestant) {
                _ if !self.only.is_empty() && !self.only.contains(&contestant) => {}
                None => present.push(contestant),
                Some(why) => results.note(format!("{}: not measured: {why}", contestant.name())),
            }
        }
        for &heat in Heat::value_variants() {
            if self.heat.is_empty() || self.heat.contains(&heat) {
                self.measure(heat, &present, &arena, &mut results);
            }
        }
        results.print(self.style, |heat| self.pace(heat));
        Ok(())
    }

    fn pace(&self, heat: Heat) -> Pace {
        let (sessions, seconds) = match heat {
            Heat::Idle => (self.sessions, 10),
            Heat::Busy => (self.sessions / 2, 1),
            Heat::Tls => (self.tls_sessions, 10),
        };
        Pace { sessions, interval: Duration::from_secs(seconds) }
    }

    fn measure(&self, heat: Heat, present: &[Contestant], arena: &Arena, results: &mut Results) {
        let pace = self.pace(heat);
        let procedure = Procedure {
            pace,
            window: Duration::from_secs(self.window),
            silenced: self.silenced.min(pace.sessions / 2),
        };
        let mut contestants: Vec<_> = present
            .iter()
            .copied()
            .filter(|&contestant| (contestant == Contestant::Tls) == (heat == Heat::Tls))
            .collect();
        for round in 1..=self.rounds {
            // In turn, so that a slow moment of the machine hits them all.
            contestants.retain(|&contestant| {
                eprintln!(
                    "{} sessions, {}/s, round {round} of {}: {}",
                    thousands(pace.sessions),
                    thousands(pace.rate()),
                    self.rounds,
                    contestant.name()
                );
                match procedure.measure(contestant, arena) {
                    Ok(trial) => results.add(heat, contestant, trial),
                    Err(error) => {
                        results.note(format!("{}: {error:#}", contestant.name()));
                        return false;
                    }
                }
                true
            });
        }
    }
}
