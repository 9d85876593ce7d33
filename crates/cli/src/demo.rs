//! `deadpeer demo`: connections of its own, each with another fate, asked and judged.
//!
//! It runs in a network namespace of its own, made for it without privileges: making a peer silent takes
//! CAP_NET_ADMIN, which everybody has in a namespace of one's own, and the host's connections stay out of it.

use std::error::Error;
use std::io::{self, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use deadpeer::Rules;
use deadpeer::host::{Filter, Finding, Pace, Scan};
use deadpeer_lab::{Loopback, Pair, fill};

use crate::alone::Alone;
use crate::exit::{Ended, unless_closed};
use crate::scan::{write_json, write_table};
use crate::terminal::Terminal;

const ALONE: Alone = Alone { name: "demo", inside: "DEADPEER_DEMO_INSIDE" };
/// How long the stalled connection's window stays shut before it is looked at.
const STALL: Duration = Duration::from_secs(2);

/// `deadpeer demo`
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Runs `deadpeer demo`.
pub(crate) fn run(args: &Demo) -> Result<Ended, Box<dyn Error>> {
    if ALONE.is_inside() {
        return show(args);
    }
    ALONE.run_again(|error| format!("a network namespace for the demo can't be made: {error}"))
}

fn show(args: &Demo) -> Result<Ended, Box<dyn Error>> {
    Loopback::up()?;
    let living = Pair::loopback()?;
    let silent = Pair::loopback()?;
    let leaked = Pair::loopback()?;
    let stalled = Pair::loopback()?;
    leaked.server.shutdown(Shutdown::Both)?;
    let unread = fill(&stalled.client)?;
    eprintln!("One peer lives, one falls silent, one has closed, one leaves {unread} bytes unread.");
    eprintln!("Asking them; the silent one is asked 3 times within 3 s …");
    thread::sleep(STALL);
    let severed = silent.sever()?;
    // The clients' side is this host's; the servers stand for the peers.
    let ports: Vec<_> = [&living, &silent, &leaked, &stalled]
        .iter()
        .map(|pair| pair.client.local_addr().map(|address| address.port().to_string()))
        .collect::<io::Result<_>>()?;
    let filter = Filter::parse(ports.iter().map(|port| format!("local::{port}")))?;
    let rules = Rules { stalled_after: STALL, leaked_after: STALL, ..Rules::default() };
    let report = Scan::new().filter(filter).rules(rules).probe(Pace::default()).run()?;
    drop(severed);
    unless_closed(print(&report.findings(), args.json))?;
    Ok(Ended::Well)
}

fn print(findings: &[Finding<'_>], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match json {
        true => write_json(&mut out, findings)?,
        false => {
            let all: Vec<_> = findings.iter().collect();
            write_table(&mut out, &all, &[], Terminal::of_stdout())?;
        }
    }
    out.flush()
}
