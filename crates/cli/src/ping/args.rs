//! What can be typed after `deadpeer ping`.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::args::duration;

const PING_HELP: &str = "\
Examples:
  sudo deadpeer ping port:5432
  sudo deadpeer ping peer:10.0.0.7 -c 5 -i 600ms

Filters are those of `deadpeer scan`. Asking harms no connection (`deadpeer help probing`): it needs
CAP_NET_ADMIN; without it your own connections that have no keepalive and no user timeout are asked, every 2 s.
An answer comes from the peer's kernel, or is anything else that came from the peer meanwhile.

Exit status, as ping's: 0 somebody answered; 1 nobody did, or no connection matches; 2 anything else.";

/// `deadpeer ping`
#[derive(Debug, clap::Args)]
#[command(after_help = PING_HELP)]
pub(crate) struct Ping {
    /// Which connections, for example port:5432 or peer:10.0.0.7.
    #[arg(value_name = "FILTER", required = true)]
    pub filters: Vec<String>,
    /// Stop after so many questions to each peer.
    #[arg(short, long, value_name = "N")]
    pub count: Option<NonZeroU64>,
    /// Time between two questions to the same peer, 600ms at least: a living Linux peer answers one in 500 ms
    /// (tcp_invalid_ratelimit) [default: 1s, without CAP_NET_ADMIN 2s].
    #[arg(short, long, value_name = "TIME", value_parser = interval)]
    pub interval: Option<Duration>,
    /// Look into every network namespace of the host (containers).
    #[arg(long)]
    pub all_netns: bool,
    /// One JSON object an answer, and one a connection at the end.
    #[arg(long)]
    pub json: bool,
}

/// A time; a bare number is seconds, as ping's -i has it.
fn interval(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
        Err(_) => duration(text),
    }
}
