//! What can be typed. Each command keeps its own arguments beside it; what several share is here.

use std::time::Duration;

use clap::{Parser, Subcommand};
use deadpeer::Span;

use crate::demo::Demo;
use crate::explain::args::Explain;
use crate::help::Help;
use crate::lab::args::Lab;
use crate::manual::{Completions, Man};
use crate::pair::args::{Connect, Serve};
use crate::ping::args::Ping;
use crate::plan::args::Plan;
use crate::scan::args::Scan;

/// Find the dead TCP connections of a machine, and ask their peers.
#[derive(Debug, Parser)]
#[command(name = "deadpeer", version, max_term_width = 100, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  deadpeer scan                       what needs attention, of all connections
  sudo deadpeer scan --probe          ask every peer now
  deadpeer scan --all port:5432       all connections from or to port 5432
  deadpeer scan --json | jq .verdict  for programs
  deadpeer scan --probe --fail-on dead,leaked
  sudo deadpeer ping port:5432        ask once a second, with times
  deadpeer explain port:5432          one connection's story
  deadpeer plan --detect 30s          what to set, what follows, what it costs
  deadpeer serve, deadpeer connect    heartbeats between two places, for programs that have none
  deadpeer demo                       see it at work on connections of its own";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List this host's TCP connections with a verdict on each, the worst first.
    Scan(Scan),
    /// Ask the peers of matching connections once a second, like ping(8).
    Ping(Ping),
    /// Say what to set for what is wanted, what follows and what it costs.
    Plan(Plan),
    /// Tell a connection's story: what is set, when a death would be noticed, what is wrong with that.
    Explain(Explain),
    /// Make a living, a silent, a leaked and a stalled connection, ask and judge them.
    Demo(Demo),
    /// Measure every way that a peer can die against every way to notice.
    Lab(Lab),
    /// Accept sessions with heartbeats: who is there, who died and why; and forward them.
    Serve(Box<Serve>),
    /// Keep a session with a server up; or carry other programs' connections to it.
    Connect(Box<Connect>),
    /// Explain a topic (keepalive, verdicts, probing, privileges, sessions, json) or a command.
    Help(Help),
    /// Print the manual page, of a command if one is named: `deadpeer man | man -l -`.
    Man(Man),
    /// Print the completions of a shell.
    Completions(Completions),
}

/// A number with its unit: `500ms`, `3s`, `2m`, `1h`; fractions are allowed.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    text.parse().map(|Span(time)| time).map_err(|error| format!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn times() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["5", "s", "-1s", "1 day", "", "1e999s", "NaNs"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
