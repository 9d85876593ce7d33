//! The process that holds one end of many connections.

use std::io::{self, Read, Write};
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use clap::Subcommand;
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with};
use rustix::process::{Resource, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

/// What it says when others may connect to it.
pub(super) const LISTENING: &str = "listening";
/// What it says when it holds all its connections.
pub(super) const READY: &str = "ready";

/// The most connections that a process shall hold, where its limit of descriptors allows that many.
const MOST: u64 = 18_000;
/// Descriptors that a holder has for other things, with some to spare.
const OTHERS: u64 = 64;

/// Holds connections until stdin ends.
#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Hold the accepting ends
    Accept { count: usize, at: SocketAddrV4 },
    /// Hold the connecting ends: so many to each address
    Connect { count: usize, to: Vec<SocketAddrV4> },
}

/// How many connections one process can hold here.
pub(super) fn capacity() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(OTHERS).min(MOST)).unwrap_or(usize::MAX)
}

impl Hold {
    pub(super) fn run(&self) -> Result<()> {
        // Stdin isn't watched before all connections are there; and a killed parent can't close it in peace.
        set_parent_process_death_signal(Some(Signal::KILL)).context("prctl(PR_SET_PDEATHSIG)")?;
        allow_descriptors()?;
        let _held = match self {
            Self::Accept { count, at } => {
                accept_all(*count, at).with_context(|| format!("accept at {at}"))?
            }
            Self::Connect { count, to } => connect_all(*count, to)?,
        };
        say(READY)?;
        io::stdin().read_to_end(&mut Vec::new()).context("wait for the end of stdin")?;
        Ok(())
    }
}

/// Raises the soft limit of descriptors to the hard one.
pub(super) fn allow_descriptors() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("setrlimit(RLIMIT_NOFILE)")
}

/// The listener is closed at the end: what is left are two sockets a connection, and nothing else.
fn accept_all(count: usize, at: &SocketAddrV4) -> Result<Vec<OwnedFd>> {
    let listener = socket()?;
    bind(&listener, at).context("bind")?;
    // The backlog may take all of them: who connects needn't wait for who accepts.
    listen(&listener, i32::try_from(count)?).context("listen")?;
    say(LISTENING)?;
    (0..count).map(|_| accept_with(&listener, SocketFlags::CLOEXEC).context("accept")).collect()
}

fn connect_all(count: usize, to: &[SocketAddrV4]) -> Result<Vec<OwnedFd>> {
    let mut held = Vec::with_capacity(count * to.len());
    for address in to {
        for _ in 0..count {
            let socket = socket()?;
            connect(&socket, address).with_context(|| format!("connect to {address}"))?;
            held.push(socket);
        }
    }
    Ok(held)
}

fn socket() -> Result<OwnedFd> {
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).context("socket")
}

/// Tells the parent.
fn say(word: &str) -> Result<()> {
    writeln!(io::stdout(), "{word}").context("write to stdout")
}
