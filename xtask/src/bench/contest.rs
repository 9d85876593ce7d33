//! The programs that read the same connections in turn.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::bars::Bar;
use super::measure::{Samples, count_lines};
use super::programs::Programs;
use super::report::{Style, mebibytes, number, ratio, spread, thousands, time};

/// `ss -p` looks each socket up in a table of 256 chains: it may take half a minute at 200,000 sockets, and
/// seven at 600,000.
const MOST_SOCKETS_FOR_SS_OWNERS: usize = 200_000;
/// The number of connections for which there is a bar of memory.
const CONNECTIONS_OF_BARS: usize = 100_000;
const MEMORY_MIB: f64 = 150.0;

/// The programs, and what they took for one number of connections.
#[derive(Debug)]
pub(super) struct Contest {
    connections: usize,
    /// Two a connection.
    sockets: usize,
    /// How many lines `deadpeer scan --json` prints. Nothing is judged if it shows fewer sockets than there are.
    scan_rows: usize,
    floor: Contender,
    ss: Contender,
    ss_owners: Contender,
    scan: Contender,
    scan_without_settings: Contender,
}

#[derive(Debug)]
struct Contender {
    name: &'static str,
    command: Command,
    samples: Samples,
}

impl Contender {
    fn new(name: &'static str, program: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let mut command = Command::new(program.as_ref());
        command.args(arguments);
        Self { name, command, samples: Samples::default() }
    }

    fn run(&mut self) -> Result<()> {
        self.samples.add(&mut self.command, Stdio::null())
    }
}

impl Contest {
    /// A contest in a namespace with so many `connections`.
    pub(super) fn new(programs: &Programs, connections: usize) -> Result<Self> {
        let sockets = count_sockets(&programs.floor)?;
        ensure!(
            sockets == 2 * connections,
            "the namespace should have {} sockets, but has {sockets}",
            2 * connections
        );
        Ok(Self {
            connections,
            sockets,
            scan_rows: 0,
            floor: Contender::new("floor (C, counts only)", &programs.floor, &[]),
            ss: Contender::new("ss -tnoi", "ss", &["-tnoi"]),
            ss_owners: Contender::new("ss -tnoip", "ss", &["-tnoip"]),
            scan: Contender::new("deadpeer scan --json", &programs.deadpeer, &["scan", "--json"]),
            scan_without_settings: Contender::new(
                "deadpeer scan --json --skip-settings",
                &programs.deadpeer,
                &["scan", "--json", "--skip-settings"],
            ),
        })
    }

    /// Measures each program `rounds` times, the very slow one once.
    pub(super) fn run(&mut self, rounds: u32) -> Result<()> {
        eprintln!("warming up");
        for contender in [&mut self.floor, &mut self.ss, &mut self.scan_without_settings] {
            count_lines(&mut contender.command)?;
        }
        self.scan_rows = count_lines(&mut self.scan.command)?;
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}");
            // In turn, so that a slow moment of the machine hits them all.
            for contender in [&mut self.floor, &mut self.ss, &mut self.scan, &mut self.scan_without_settings]
            {
                contender.run()?;
            }
        }
        if self.sockets <= MOST_SOCKETS_FOR_SS_OWNERS {
            eprintln!("{}, once", self.ss_owners.name);
            self.ss_owners.run()?;
        }
        Ok(())
    }

    pub(super) fn print(&self, style: Style) {
        let Self { floor, ss, ss_owners, scan, scan_without_settings, .. } = self;
        style.print_title(format_args!(
            "{} connections: {} sockets",
            thousands(self.connections),
            thousands(self.sockets)
        ));
        style.print_table(
            &[
                "program",
                "time: median (min – max)",
                "a socket",
                "/ floor",
                "/ ss -tnoi",
                "CPU",
                "peak memory",
            ],
            [floor, ss, ss_owners, scan, scan_without_settings].map(|contender| self.row(contender)),
        );
        let mut notes = Vec::new();
        if ss_owners.samples.is_empty() {
            notes.push(format!(
                "{} was left out: above {} sockets it takes minutes, for its time grows with their square.",
                ss_owners.name,
                thousands(MOST_SOCKETS_FOR_SS_OWNERS)
            ));
        }
        if let Some(shortfall) = self.shortfall() {
            notes.push(shortfall);
        }
        if !notes.is_empty() {
            println!();
            style.print_list(notes);
        }
    }

    fn row(&self, contender: &Contender) -> Vec<String> {
        let samples = &contender.samples;
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        let times = |ratio: Option<f64>| or_dash(ratio.map(number));
        vec![
            contender.name.to_owned(),
            spread(samples),
            or_dash(self.per_socket(contender).map(|seconds| format!("{} µs", number(seconds * 1e6)))),
            times(ratio(samples, &self.floor.samples)),
            times(ratio(samples, &self.ss.samples)),
            or_dash(samples.cpu().map(time)),
            or_dash(samples.peak_memory().map(|bytes| format!("{} MiB", number(mebibytes(bytes))))),
        ]
    }

    /// In seconds.
    fn per_socket(&self, contender: &Contender) -> Option<f64> {
        Some(contender.samples.wall()?[0].as_secs_f64() / self.sockets as f64)
    }

    /// In seconds; nothing if the scan didn't show all sockets.
    pub(super) fn scan_per_socket(&self) -> Option<f64> {
        if self.shortfall().is_some() { None } else { self.per_socket(&self.scan) }
    }

    /// Why the figures of the scan mean nothing, if so.
    fn shortfall(&self) -> Option<String> {
        (self.scan_rows < self.sockets).then(|| {
            format!("{} printed {} lines for {} sockets", self.scan.name, self.scan_rows, self.sockets)
        })
    }

    /// What the command is to reach at this number of connections.
    pub(super) fn bars(&self) -> Vec<Bar> {
        let [floor, ss, ss_owners, scan, scan_without_settings] =
            [&self.floor, &self.ss, &self.ss_owners, &self.scan, &self.scan_without_settings]
                .map(|contender| &contender.samples);
        let mut bars = vec![
            self.bar("scan takes less time than ss -tnoi", ratio(scan, ss), 1.0, "of it"),
            self.bar(
                "scan --skip-settings takes at most three times the time of the floor",
                ratio(scan_without_settings, floor),
                3.0,
                "times",
            ),
        ];
        // These two are set for this many connections: the time of `ss -tnoip` grows with their square.
        if self.connections == CONNECTIONS_OF_BARS {
            let tenth = "scan takes at most a tenth of the time of ss -tnoip";
            bars.push(self.bar(tenth, ratio(scan, ss_owners), 0.1, "of it"));
            let memory = scan.peak_memory().map(mebibytes);
            bars.push(self.bar("scan needs less than 150 MiB", memory, MEMORY_MIB, "MiB"));
        }
        bars
    }

    fn bar(&self, what: &str, value: Option<f64>, most: f64, unit: &str) -> Bar {
        let what = format!("{} connections: {what}", thousands(self.connections));
        match (self.shortfall(), value) {
            (Some(shortfall), _) => Bar::not_judged(what, shortfall),
            (None, Some(value)) => Bar::at_most(what, value, most, unit),
            (None, None) => Bar::not_judged(what, "not measured at this size"),
        }
    }
}

/// How many TCP sockets the kernel shows in this namespace.
fn count_sockets(floor: &Path) -> Result<usize> {
    let output = Command::new(floor).output().with_context(|| format!("start {}", floor.display()))?;
    String::from_utf8_lossy(&output.stdout).trim().parse().with_context(|| {
        format!("{} did not count the sockets: {}", floor.display(), String::from_utf8_lossy(&output.stderr))
    })
}
