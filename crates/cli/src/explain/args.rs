//! What can be typed after `deadpeer explain`.

use crate::goals::GoalArgs;

const EXPLAIN_HELP: &str = "\
Examples:
  deadpeer explain port:5432
  deadpeer explain pid:812 --detect 15s
  deadpeer explain --system

Filters are those of `deadpeer scan`. Exit status: 0 done; 1 no connection matches; 2 it could not do its job.";

/// `deadpeer explain`
#[derive(Debug, clap::Args)]
#[command(after_help = EXPLAIN_HELP)]
pub(crate) struct Explain {
    /// Which connections, for example port:5432 or peer:10.0.0.7.
    #[arg(value_name = "FILTER", required_unless_present = "system")]
    pub filters: Vec<String>,
    /// Explain this machine's own defaults instead (sysctls; on Windows, the registry).
    #[arg(long, conflicts_with = "filters")]
    pub system: bool,
    /// Explain at most so many.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub limit: usize,
    /// Look into every network namespace of the host (containers).
    #[arg(long)]
    pub all_netns: bool,
    /// One JSON object a connection.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub goals: GoalArgs,
}
