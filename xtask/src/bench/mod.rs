//! `cargo xtask bench`: the command beside its rivals.
//!
//! Each benchmark runs twice. First it [builds the programs](programs) and starts itself again
//! [in a namespace](namespace) of its own; there it opens its connections, which other processes
//! [hold](holders), [measures](measure) and [reports](report).

mod bars;
mod contest;
mod forward;
mod guard;
mod heartbeat;
mod hold;
mod holders;
mod machine;
mod measure;
mod namespace;
mod optimised;
mod order;
mod probe;
mod programs;
mod report;
mod scan;
mod serve;
mod server;
mod usage;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use programs::Programs;

/// What `cargo xtask bench` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// `deadpeer scan` beside `ss` and the kernel's bare answer
    Scan(scan::Scan),
    /// `deadpeer scan --probe` of a process with many idle connections
    Probe(probe::Probe),
    /// Guarded streams beside bare ones
    Guard(guard::Guard),
    /// The heartbeat's state machine, and the roster beside tokio's timers
    Heartbeat(heartbeat::Beat),
    /// `deadpeer serve` with thousands of idle sessions, beside servers of four other kinds
    Serve(serve::Serve),
    /// `deadpeer connect` and `serve` in the way of a connection, beside two HAProxies
    Forward(forward::Forward),
    /// Swallow or echo: for `bench forward`
    #[command(hide = true)]
    Far(forward::Far),
    /// Beat on many connections: for `bench serve`
    #[command(hide = true)]
    Load(serve::Load),
    /// Serve as others do: for `bench serve`
    #[command(subcommand, hide = true)]
    Rival(serve::Rival),
    /// Hold connections until stdin ends: for the other benchmarks
    #[command(subcommand, hide = true)]
    Hold(hold::Hold),
}

impl Bench {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        match self {
            Self::Scan(scan) => in_namespace(scan.deadpeer.as_deref(), |programs| scan.run(programs)),
            Self::Probe(probe) => in_namespace(probe.deadpeer.as_deref(), |programs| probe.run(programs)),
            Self::Guard(guard) => guard.run(),
            Self::Heartbeat(beat) => beat.run(),
            Self::Serve(serve) => optimised(serve.deadpeer.as_deref(), |programs| serve.run(programs)),
            Self::Forward(forward) => {
                optimised(forward.deadpeer.as_deref(), |programs| forward.run(programs))
            }
            Self::Far(far) => far.run().map(|()| ExitCode::SUCCESS),
            Self::Load(load) => load.run().map(|()| ExitCode::SUCCESS),
            Self::Rival(rival) => rival.run().map(|()| ExitCode::SUCCESS),
            Self::Hold(hold) => hold.run().map(|()| ExitCode::SUCCESS),
        }
    }
}

/// Runs `benchmark` in a network namespace of its own: by the process that this one starts for it.
fn in_namespace(
    deadpeer: Option<&std::path::Path>,
    benchmark: impl FnOnce(&Programs) -> Result<()>,
) -> Result<ExitCode> {
    let Some(programs) = Programs::from_environment() else {
        return namespace::run_again(&Programs::build(deadpeer)?);
    };
    namespace::furnish()?;
    benchmark(&programs).map(|()| ExitCode::SUCCESS)
}

/// The same for a benchmark that measures, or loads, with parts of this program.
fn optimised(
    deadpeer: Option<&std::path::Path>,
    benchmark: impl FnOnce(&Programs) -> Result<()>,
) -> Result<ExitCode> {
    match optimised::run_again()? {
        Some(ended) => Ok(ended),
        None => in_namespace(deadpeer, benchmark),
    }
}
