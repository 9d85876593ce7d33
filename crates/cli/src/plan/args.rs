//! What can be typed after `deadpeer plan`.

use clap::ValueEnum;
use deadpeer::Platform;

use super::emit::Target;
use crate::goals::GoalArgs;

const PLAN_HELP: &str = "\
Examples:
  deadpeer plan --detect 30s --tolerate 8s
  deadpeer plan --detect 10m --nat 350s --budget 1MB/day
  deadpeer plan --detect 30s --slow-readers
  deadpeer plan --detect 30s --slow-readers --accept-rto-ceiling --emit c
  deadpeer plan --policy policy.toml --os freebsd --json

Exit status: 0 there is a plan; 2 no settings keep what is wanted: the error names what is possible.";

/// `deadpeer plan`
#[derive(Debug, clap::Args)]
#[command(after_help = PLAN_HELP)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub goals: GoalArgs,
    /// The system to plan for [default: this machine, with its own defaults].
    #[arg(long, value_enum)]
    pub os: Option<Os>,
    /// Print the settings for one place, and nothing else.
    #[arg(long, value_enum, value_name = "PLACE", conflicts_with = "json")]
    pub emit: Option<Target>,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A system as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Os {
    /// Linux 6.15 and later.
    Linux,
    /// Windows 10 1709 and later.
    Windows,
    /// Windows before 1703: ten probes, whatever one wishes.
    #[value(name = "windows-1607")]
    Windows1607,
    /// macOS.
    Macos,
    /// FreeBSD.
    Freebsd,
}

impl Os {
    pub(crate) fn platform(self) -> Platform {
        match self {
            Self::Linux => Platform::linux(),
            Self::Windows => Platform::windows(),
            Self::Windows1607 => Platform::windows_1607(),
            Self::Macos => Platform::macos(),
            Self::Freebsd => Platform::freebsd(),
        }
    }
}
