//! What can be typed after `deadpeer scan`.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::ValueEnum;
use deadpeer::Verdict;

use crate::args::duration;

const SCAN_HELP: &str = "\
Filters: KEY:VALUE[,VALUE…], with ! in front to exclude. The same key twice means or, different keys and.
  port:5432 port:8000-8010   local or peer port     pid:812  uid:1000
  peer:10.0.0.0/8 local::22  address, prefix, port  process:nginx  process:post*
  state:close-wait           TCP state              unit:nginx.service
  verdict:dead,suspect       verdict                netns:4026531840

Verdicts: dead, suspect, leaked, stalled, ended, unverified, opening, closing, alive.

Exit status: 0 done; 1 --fail-on found one; 2 it could not do its job; 130 interrupted.

Rights: none to list and judge. Other users' owners and settings: root (ptrace access). Asking: CAP_NET_ADMIN;
without it only your own connections that have no keepalive and no user timeout are asked, once.";

/// `deadpeer scan`
#[derive(Debug, clap::Args)]
#[command(after_help = SCAN_HELP)]
pub(crate) struct Scan {
    /// Which connections, for example port:5432 or !peer:127.0.0.0/8.
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,

    /// IPv4 only.
    #[arg(short = '4')]
    pub v4: bool,
    /// IPv6 only.
    #[arg(short = '6')]
    pub v6: bool,
    /// List listeners, too.
    #[arg(long)]
    pub listeners: bool,
    /// Look into every network namespace of the host (containers).
    #[arg(long)]
    pub all_netns: bool,

    /// Ask each peer now.
    #[arg(long)]
    pub probe: bool,
    /// Ask each peer at most N times [default: as often as proof takes].
    #[arg(long, value_name = "N", requires = "probe", value_parser = clap::value_parser!(u16).range(1..))]
    pub tries: Option<u16>,
    /// Leave at least this much time between two questions to the same peer; 1s is the least.
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "probe", value_parser = duration)]
    pub gap: Duration,
    /// Stop asking a silent peer after this time; it is suspect if its silence proves nothing by then.
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "probe", value_parser = duration)]
    pub timeout: Duration,
    /// Questions a second over all connections, or "unlimited".
    #[arg(long, value_name = "N", default_value = "2000", requires = "probe", value_parser = rate)]
    pub rate: Rate,

    /// A peer heard from within this time is alive.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub fresh: Duration,
    /// A connection that the peer has closed is leaked when nothing has moved for this long.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub leaked_after: Duration,
    /// A window, a queue that stays shut or full for this long is stalled.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub stalled_after: Duration,
    /// Do not read the sockets' settings (faster).
    #[arg(long)]
    pub skip_settings: bool,

    /// List everything, not only what needs attention (the default where stdout is no terminal).
    #[arg(long)]
    pub all: bool,
    /// List at most so many.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// The order [default: verdict; with --json --probe, those that answer come first, as soon as they do].
    #[arg(long, value_enum)]
    pub sort: Option<Sort>,
    /// The table's columns.
    #[arg(long, value_name = "COLUMN,…", value_enum, value_delimiter = ',', conflicts_with_all = ["json", "group_by"])]
    pub columns: Vec<Column>,
    /// Sum up instead of listing.
    #[arg(long, value_enum, value_name = "KEY")]
    pub group_by: Option<GroupBy>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// Exit with 1 when there is a connection with one of these verdicts.
    #[arg(long, value_name = "VERDICT,…", value_delimiter = ',', value_parser = verdict)]
    pub fail_on: Vec<Verdict>,
}

/// Questions a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate(pub Option<NonZeroU32>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// The worst first, then those silent for longest.
    Verdict,
    /// By peer address.
    Peer,
    /// By local address.
    Local,
    /// By process name and number.
    Process,
    /// Those silent for longest first.
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    Verdict,
    Peer,
    Local,
    State,
    Process,
    Pid,
    Uid,
    Unit,
    Netns,
    Idle,
    Rtt,
    Keepalive,
    Detection,
    Queues,
    Cause,
    Evidence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupBy {
    /// By the peer's address.
    Peer,
    /// By process name.
    Process,
    /// By systemd unit or cgroup.
    Unit,
    /// By verdict.
    Verdict,
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "unlimited" {
        return Ok(Rate(None));
    }
    match text.parse() {
        Ok(rate) => Ok(Rate(Some(rate))),
        Err(_) => Err("a whole number from 1 on, or `unlimited`".into()),
    }
}

fn verdict(text: &str) -> Result<Verdict, String> {
    text.parse().map_err(|error| format!("{error}"))
}
