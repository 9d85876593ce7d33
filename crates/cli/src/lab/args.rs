//! What can be typed after `deadpeer lab`.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::args::duration;

const HELP: &str = "\
Every fault is a real one, on real connections of a network namespace that the lab makes for itself; nothing of
this machine is touched. Methods: a blocked recv, poll, TCP_INFO, keepalive 2/1/3 (idle, interval, probes), the
same with TCP_USER_TIMEOUT 5 s or TCP_RTO_MAX_MS 1000, a heartbeat (1 s, patience 3 s), `scan --probe`.

The other end is on this host, behind a router, or behind a link of the lab's own that delays or loses packets.

In a cell: the time to notice, and below it what was to be expected. `never`: the method misses the fault.
`lives`: the connection is healthy and survived. FALSE ALARM: it is healthy and was given up.

Elsewhere than on Linux it runs on loopback as it is, with the faults that ordinary sockets and processes can have;
the others are left out, and say so.

To end within a minute the lab's namespace has tcp_retries2 = 5 (13 s instead of 15 min) and tcp_fin_timeout = 6.

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
    /// Put a fault on the connection of a program, and see how long it takes to notice.
    Prove(Prove),
    /// Undo a fault when stdin ends.
    #[command(hide = true)]
    Undo {
        /// What to undo.
        what: Vec<String>,
    },
    /// Be the far end of a connection, until stdin ends.
    #[command(hide = true)]
    Peer(Peer),
}

/// `deadpeer lab peer`
#[derive(Debug, Args)]
pub(crate) struct Peer {
    /// Where the near end waits.
    pub address: SocketAddr,
    /// Answer heartbeats.
    #[arg(long)]
    pub beat: bool,
    /// End with a reset.
    #[arg(long)]
    pub abrupt: bool,
}

const PROVE_HELP: &str = "\
It starts the command, waits until it (or a child of it) is connected to --on, and puts the fault on exactly that
connection. By default only the program's own end is touched: it hears nothing any more. Whatever happens, also
when this is killed, the fault is undone; the command is ended.

Exit status: 0 noticed in time (or: survived the outage); 1 not; 2 it could not do its job; 130 interrupted.

Rights: CAP_NET_ADMIN for silent, outage and reset; frozen stops the process at the far end of this machine.

Examples:
  sudo deadpeer lab prove --within 10s --on 127.0.0.1:6379 -- redis-cli SUBSCRIBE news
  sudo deadpeer lab prove --within 30s --on db:5432 --fault outage:5s -- ./my-server";

/// `deadpeer lab prove`
#[derive(Debug, Args)]
#[command(after_help = PROVE_HELP)]
pub(crate) struct Prove {
    /// The program has to notice within this.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub within: Duration,
    /// The address and port that the connection goes to.
    #[arg(long, value_name = "HOST:PORT")]
    pub on: String,
    /// silent, reset, outage:TIME, or frozen.
    #[arg(long, value_name = "FAULT", default_value = "silent", value_parser = shock)]
    pub fault: Shock,
    /// Allow to stop the process at the far end (frozen).
    #[arg(long)]
    pub touch_peer: bool,
    /// How long after it has connected the fault begins.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub after: Duration,
    /// The program and its arguments.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// A fault on a connection that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shock {
    Silent,
    Frozen,
    Reset,
    Outage(Duration),
}

fn shock(text: &str) -> Result<Shock, String> {
    match text.split_once(':') {
        None if text == "silent" => Ok(Shock::Silent),
        None if text == "frozen" => Ok(Shock::Frozen),
        None if text == "reset" => Ok(Shock::Reset),
        Some(("outage", length)) => duration(length).map(Shock::Outage),
        _ => Err("there are: silent, frozen, reset, outage:5s".to_owned()),
    }
}
