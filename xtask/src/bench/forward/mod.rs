//! `cargo xtask bench forward`: what going through `deadpeer connect` and `serve` costs, beside two HAProxies.

mod client;
mod far;
mod results;
mod ways;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::machine::Machine;
use super::programs::Programs;
use super::report::Style;
use super::server::Server;
pub(super) use far::Far;
use results::{Results, Round};
use ways::{Arguments, Kind, Way};

/// So many connections at once carry the bulk.
const CONNECTIONS: [usize; 2] = [1, 8];

#[derive(Debug, Args)]
pub(crate) struct Forward {
    /// How many seconds messages are sent, each time
    #[arg(long, default_value_t = 4, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How many small messages go to and fro, each time
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..))]
    round_trips: u32,
    /// How often each way is measured; medians count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many loops `deadpeer serve` has. (Each HAProxy has one thread.)
    #[arg(long, default_value_t = 1)]
    loops: u32,
    /// One more argument for `deadpeer serve`; repeatable
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    serve_argument: Vec<String>,
    /// One more argument for `deadpeer connect`; repeatable
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    connect_argument: Vec<String>,
    /// Measure this binary of the command instead of building it
    #[arg(long, value_name = "PATH")]
    pub(super) deadpeer: Option<PathBuf>,
    #[command(flatten)]
    style: Style,
}

impl Forward {
    /// Measures, prints.
    pub(super) fn run(&self, programs: &Programs) -> Result<()> {
        let mut arguments =
            Arguments { serve: vec!["--loops".into(), self.loops.to_string()], connect: Vec::new() };
        arguments.serve.extend(self.serve_argument.iter().cloned());
        arguments.connect.extend(self.connect_argument.iter().cloned());
        self.style.print_title("the way through two proxies");
        println!("{}", Machine::this());
        println!(
            "{}, mode tcp, nbthread 1; deadpeer serve {}; deadpeer connect {}",
            ways::haproxy_version().unwrap_or_else(|_| "no HAProxy".into()),
            arguments.serve.join(" "),
            arguments.connect.join(" ")
        );

        // Not by its path, where a newer build may be by now.
        let far = Server::start(Command::new("/proc/self/exe").args(["bench", "far"]))?;
        let mut results = Results::default();
        let mut ways = Vec::new();
        for kind in Kind::ALL {
            match kind.absent(&programs.deadpeer) {
                Some(why) => results.note(format!("{}: not measured: {why}", kind.name())),
                None => ways.push(Way::open(kind, far.address(), &programs.deadpeer, &arguments)?),
            }
        }
        for round in 1..=self.rounds {
            eprintln!("round {round} of {}", self.rounds);
            // In turn, so that a slow moment of the machine hits them all.
            ways.retain(|way| match self.measure(way) {
                Ok(round) => {
                    results.add(way.kind, round);
                    true
                }
                Err(error) => {
                    results.note(format!("{}: {error:#}", way.kind.name()));
                    false
                }
            });
        }
        results.print(self.style);
        Ok(())
    }

    fn measure(&self, way: &Way) -> Result<Round> {
        let [median, tail] = client::round_trips(way.entry, self.round_trips as usize)?;
        let mut speed = [0.0; CONNECTIONS.len()];
        let mut cpu = [0.0; CONNECTIONS.len()];
        for (n, connections) in CONNECTIONS.into_iter().enumerate() {
            let before = way.cpu()?;
            let bulk = client::throughput(way.entry, connections, Duration::from_secs(self.seconds))
                .with_context(|| format!("{connections} connections"))?;
            let used = way.cpu()?.saturating_sub(before);
            speed[n] = bulk.speed();
            cpu[n] = used.as_secs_f64() / bulk.bytes as f64 * 1e9;
        }
        Ok(Round { median, tail, speed, cpu })
    }
}
