//! `cargo xtask bench probe`: asking the peers of one process's connections.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;

use super::bars::Bar;
use super::holders::Holders;
use super::machine::Machine;
use super::measure::Samples;
use super::programs::Programs;
use super::report::{Style, mebibytes, number, spread, thousands, time};

/// How long a probe may take beyond what a peer needs to answer.
const BEYOND: Duration = Duration::from_secs(2);
/// How many processes the peers are in.
const PEERS: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// How many idle connections the probed process shall have
    #[arg(
        long,
        default_value_t = 15_000,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..)
    )]
    connections: usize,
    /// How often the probe is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure this binary of the command instead of building it
    #[arg(long, value_name = "PATH")]
    pub(super) deadpeer: Option<PathBuf>,
    #[command(flatten)]
    style: Style,
}

impl Probe {
    /// Opens the connections, measures, prints.
    pub(super) fn run(&self, programs: &Programs) -> Result<()> {
        self.style.print_title("deadpeer scan --probe of one process");
        println!("{}", Machine::this());
        eprintln!("opening {} connections", thousands(self.connections));
        let mut holders = Holders::default();
        let pid = holders.fan_out(self.connections, PEERS)?;

        let mut samples = Samples::default();
        let mut answers = Answers::default();
        for round in 1..=self.rounds {
            eprintln!("round {round} of {}", self.rounds);
            let mut command = Command::new(&programs.deadpeer);
            command.args(["scan", "--probe", "--rate", "unlimited", "--json", &format!("pid:{pid}")]);
            // Not into a pipe: whoever reads it takes part of the machine from who writes to it.
            let mut lines = File::from(memfd_create("rows", MemfdFlags::CLOEXEC).context("memfd_create")?);
            samples.add(&mut command, lines.try_clone()?.into())?;
            lines.rewind()?;
            answers = Answers::read(BufReader::new(lines))?;
        }
        holders.check()?;
        // The answers of the last round; they come from the same peers in all.
        self.print(holders.connections(), &samples, &answers);
        Ok(())
    }

    fn print(&self, connections: usize, samples: &Samples, answers: &Answers) {
        let median = answers.median();
        let beyond = samples.wall().zip(median).map(|([wall, ..], median)| wall.saturating_sub(median));
        let or_dash = |time: Option<Duration>| time.map_or_else(|| "–".into(), super::report::time);
        self.style.print_title(format_args!("{} idle connections", thousands(connections)));
        self.style.print_table(
            &[
                "time: median (min – max)",
                "median answer",
                "beyond it",
                "CPU",
                "peak memory",
                "rows",
                "alive",
            ],
            [vec![
                spread(samples),
                or_dash(median),
                or_dash(beyond),
                or_dash(samples.cpu()),
                samples
                    .peak_memory()
                    .map_or_else(|| "–".into(), |bytes| format!("{} MiB", number(mebibytes(bytes)))),
                thousands(answers.rows),
                thousands(answers.alive),
            ]],
        );
        println!();
        self.style.print_list(bars(connections, beyond, answers));
    }
}

/// What the command is to reach.
fn bars(connections: usize, beyond: Option<Duration>, answers: &Answers) -> [Bar; 2] {
    let [time, answered] = [
        format!("the probe takes at most {} beyond the median answer", time(BEYOND)),
        "every connection gets an answer".to_owned(),
    ];
    let Some(beyond) = beyond.filter(|_| answers.rows >= connections) else {
        let why = format!("{} rows for {connections} connections, {} alive", answers.rows, answers.alive);
        return [Bar::not_judged(time, &*why), Bar::not_judged(answered, &*why)];
    };
    let without = connections.saturating_sub(answers.alive);
    [
        Bar::at_most(time, beyond.as_secs_f64(), BEYOND.as_secs_f64(), "s"),
        Bar::at_most(answered, without as f64, 0.0, "without one"),
    ]
}

/// What a probe of many connections brought.
#[derive(Debug, Default)]
struct Answers {
    rows: usize,
    alive: usize,
    after: Vec<Duration>,
}

/// What is of interest of a line of the command's JSON.
#[derive(Deserialize)]
struct Row {
    verdict: Option<String>,
    probe_ms: Option<f64>,
}

impl Answers {
    fn read(lines: impl BufRead) -> Result<Self> {
        let mut answers = Self::default();
        for line in lines.lines() {
            let line = line?;
            let row: Row =
                serde_json::from_str(&line).with_context(|| format!("no row of a scan: {line}"))?;
            answers.rows += 1;
            answers.alive += usize::from(row.verdict.as_deref() == Some("alive"));
            answers.after.extend(row.probe_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok()));
        }
        answers.after.sort_unstable();
        Ok(answers)
    }

    fn median(&self) -> Option<Duration> {
        self.after.get(self.after.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_and_their_median_taken() {
        let lines = r#"{"verdict":"alive","probe_ms":3,"pid":1}
{"verdict":"alive","probe_ms":0.5}
{"verdict":"dead","probe_ms":null}
{"verdict":"alive","probe_ms":2}"#;
        let answers = Answers::read(lines.as_bytes()).unwrap();
        assert_eq!((answers.rows, answers.alive), (4, 3));
        assert_eq!(answers.median(), Some(Duration::from_millis(2)));
    }

    #[test]
    fn what_is_no_row_is_shown() {
        let error = Answers::read(&b"error: no such process\n"[..]).unwrap_err();
        assert!(error.to_string().contains("no such process"), "{error}");
    }
}
