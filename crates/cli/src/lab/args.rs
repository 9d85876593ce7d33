//! What can be typed after `deadpeer lab`.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::{Args, Subcommand};

const HELP: &str = "\
Every fault is a real one, on real connections of a network namespace that the lab makes for itself; nothing of
this machine is touched. Methods: a blocked recv, poll, TCP_INFO, keepalive 2/1/3 (idle, interval, probes), the
same with TCP_USER_TIMEOUT 5 s or TCP_RTO_MAX_MS 1000, a heartbeat (1 s, patience 3 s), `scan --probe`.

In a cell: the time to notice, and below it what was to be expected. `never`: the method misses the fault.
`lives`: the connection is healthy and survived. FALSE ALARM: it is healthy and was given up.

To end within a minute the lab's namespace has tcp_retries2 = 6 (25 s instead of 15 min) and tcp_fin_timeout = 6.

Exit status: 0 done, also where something was left out; 1 a time lies outside its expected range; 2 it could not
do its job; 130 interrupted.";

/// `deadpeer lab`
#[derive(Debug, Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct Lab {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Also the classic keepalive settings in real time, each beside its prediction (80 s).
    #[arg(long)]
    pub full: bool,
    /// Run so often; cells show the median.
    #[arg(short = 'n', long, value_name = "N", default_value = "1")]
    pub runs: NonZeroU16,
    /// Moves the moments at which connections are made against those of the faults.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Write the matrix, with a line of time for each fault, to a page that needs no network.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// One JSON object a cell.
    #[arg(long)]
    pub json: bool,
}

/// Other things that the lab does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Be the far end of a connection (stdin).
    #[command(hide = true)]
    Peer {
        /// Answer heartbeats.
        #[arg(long)]
        beat: bool,
    },
}
