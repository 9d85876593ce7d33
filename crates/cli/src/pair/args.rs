//! What `serve` and `connect` can be told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use deadpeer_hub::Place;

use crate::args::duration;
use crate::goals::GoalArgs;

/// Accept sessions with heartbeats, and tell who comes, leaves and dies, and why.
///
/// Each client beats; one that falls silent is told within --detect, whether its host lost power, its cable was
/// pulled, its NAT entry was forgotten or its program hangs. With --forward each session is joined to a TCP
/// connection to that place, and programs reach it through `deadpeer connect --listen`.
#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct Serve {
    /// Where to listen: ADDRESS:PORT, or PORT on 127.0.0.1. Other addresses than loopback need TLS or --insecure.
    #[arg(long, value_name = "ADDR", default_value = "7433", value_parser = listen)]
    pub listen: SocketAddr,
    /// Join each session to a TCP connection to this place.
    #[arg(long, value_name = "HOST:PORT")]
    pub forward: Option<Place>,
    /// Tell who is here over HTTP: /sessions as JSON, /metrics for Prometheus.
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub status: Option<SocketAddr>,
    /// Print one JSON object a line: `deadpeer help json`.
    #[arg(long)]
    pub json: bool,
    /// Who this server says it is.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = id)]
    pub id: String,
    /// Send heartbeats no more often than this. A client that needs them more often is refused.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub beat_every: Option<Duration>,
    #[command(flatten)]
    pub goals: GoalArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub tls: ServeTls,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  deadpeer serve --detect 15s        who is there, on 127.0.0.1:7433
  deadpeer serve --status 7434 & curl -s 127.0.0.1:7434/sessions
  deadpeer serve --listen 0.0.0.0:7433 --tls-cert a.pem --tls-key a.key
  deadpeer serve --forward 127.0.0.1:5432
                                     psql through `deadpeer connect --listen`

Exit status: 0 told to stop (Ctrl-C, SIGTERM), after a goodbye to all, or
whoever read its output went away; 2 it could not do its job.
`deadpeer help sessions` says more.";

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// So many sessions at once [default: what the limit of open files allows].
    #[arg(long, value_name = "N")]
    pub max_sessions: Option<NonZeroUsize>,
    /// So many sessions from one address [default: no limit].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_per_address: Option<u32>,
    /// The most bytes to hold for one session in each direction while the other side takes no more.
    #[arg(long, value_name = "BYTES", default_value_t = 1_048_576, value_parser = clap::value_parser!(u32).range(4_096..=16_777_216))]
    pub max_buffer: u32,
    /// The most bytes to hold in all.
    #[arg(long, value_name = "BYTES", default_value_t = 67_108_864, value_parser = clap::value_parser!(u64).range(65_536..))]
    pub max_buffers: u64,
    /// A valid greeting must come within this.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub greeting: Duration,
    /// Told to stop, let carried connections finish for this time; then reset them.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub stop_within: Duration,
    /// So many event loops [default: one a core].
    #[arg(long, value_name = "N")]
    pub loops: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ServeTls {
    /// Encrypt sessions: the server's certificate, with those that lead to its root (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Take only clients with a certificate of these authorities (PEM); their names belong to it.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,
    /// Listen without encryption where others can reach it.
    #[arg(long, conflicts_with = "tls_cert")]
    pub insecure: bool,
}

/// Keep one session with a server up; or carry other programs' connections through sessions.
///
/// Without --listen: shows the session's state, its round-trip time, every loss with its cause and every return.
/// With --listen: programs connect there, and reach the place that the server forwards to. When either side dies,
/// the other side's program sees its connection end within --detect instead of hanging.
#[derive(Debug, Args)]
#[command(after_help = CONNECT_EXAMPLES)]
pub(crate) struct Connect {
    /// The server.
    #[arg(value_name = "HOST:PORT")]
    pub server: Place,
    /// Carry connections from here: ADDRESS:PORT, or PORT on 127.0.0.1.
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub listen: Option<SocketAddr>,
    /// Who this client says it is.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = id)]
    pub id: String,
    /// Print one JSON object a line: `deadpeer help json`.
    #[arg(long)]
    pub json: bool,
    /// Give up after so many tries in a row that failed [default: never].
    #[arg(long, value_name = "N", conflicts_with = "listen", value_parser = clap::value_parser!(u32).range(1..))]
    pub tries: Option<u32>,
    /// Listen where others can reach it: what they send there is not encrypted.
    #[arg(long, requires = "listen")]
    pub insecure: bool,
    /// Told to stop, let carried connections finish for this time; then reset them.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub stop_within: Duration,
    #[command(flatten)]
    pub goals: GoalArgs,
    #[command(flatten)]
    pub tls: ConnectTls,
}

const CONNECT_EXAMPLES: &str = "\
Examples:
  deadpeer connect 127.0.0.1:7433 --id pi-17
  deadpeer connect db.example:7433 --tls --listen 5433 &
  psql -h 127.0.0.1 -p 5433

Exit status: 0 told to stop (Ctrl-C, SIGTERM), after a goodbye; 1 --tries
used up; 2 it could not do its job. `deadpeer help sessions` says more.";

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ConnectTls {
    /// Encrypt sessions. The server's certificate must come from an authority that this system trusts, or --ca.
    #[arg(long)]
    pub tls: bool,
    /// The authorities that the server's certificate must come from (PEM).
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub ca: Option<PathBuf>,
    /// The name that the server's certificate must have [default: HOST].
    #[arg(long, value_name = "NAME", requires = "tls")]
    pub tls_name: Option<String>,
    /// This client's certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "tls")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Where to listen. A port alone is one of loopback.
fn listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| "give ADDRESS:PORT, such as 127.0.0.1:7433 or [::]:7433, or a PORT".to_owned())
}

fn id(text: &str) -> Result<String, String> {
    use deadpeer::session::Config;
    match text.len() {
        0..=Config::LONGEST_ID if !text.contains(char::is_control) => Ok(text.to_owned()),
        0..=Config::LONGEST_ID => Err("control characters are not allowed".to_owned()),
        long => Err(format!("it has {long} bytes; {} are allowed", Config::LONGEST_ID)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_loopback() {
        assert_eq!(listen("80"), Ok("127.0.0.1:80".parse().unwrap()));
        assert_eq!(listen("[::]:80"), Ok("[::]:80".parse().unwrap()));
        assert!(listen("localhost:80").is_err() && listen("70000").is_err() && listen("").is_err());
    }
}
