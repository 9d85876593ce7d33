//! The flags that say what is wanted of a connection, and the file that may say it instead.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use deadpeer::{BytesPerDay, Goals};

use crate::args::duration;

/// What is wanted. Flags go before the file.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What is wanted")]
pub(crate) struct GoalArgs {
    /// Notice a death within this time [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub detect: Option<Duration>,
    /// Survive an outage of this long [default: a third of --detect].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub tolerate: Option<Duration>,
    /// A NAT, firewall or load balancer on the way forgets connections idle for so long.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub nat: Option<Duration>,
    /// What an idle connection may cost, for example 1MB/day: IP packets, both directions.
    #[arg(long, value_name = "BYTES/TIME", value_parser = budget)]
    pub budget: Option<BytesPerDay>,
    /// Peers may read nothing for long and must live: no user timeout.
    #[arg(long)]
    pub slow_readers: bool,
    /// Allow an RTO ceiling (TCP_RTO_MAX_MS) for slow readers: data may be lost after close().
    #[arg(long)]
    pub accept_rto_ceiling: bool,
    /// Read these from a TOML file: detect = "30s", tolerate, nat, budget, slow-readers = true,
    /// accept-rto-ceiling = true.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

impl GoalArgs {
    /// The flags over the file.
    pub(crate) fn goals(&self) -> Result<Goals, Box<dyn Error>> {
        let flags = Goals {
            detect: self.detect,
            tolerate: self.tolerate,
            nat: self.nat,
            budget: self.budget,
            slow_readers: self.slow_readers.then_some(true),
            accept_rto_ceiling: self.accept_rto_ceiling.then_some(true),
            best_effort: None, // no command applies a policy
        };
        let Some(path) = &self.policy else { return Ok(flags) };
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("--policy {shown}: {error}"))?;
        let file = Goals::from_toml(&text).map_err(|error| format!("{shown}: {error}"))?;
        Ok(flags.or(file))
    }
}

fn budget(text: &str) -> Result<BytesPerDay, String> {
    text.parse().map_err(|error| format!("{error}"))
}
