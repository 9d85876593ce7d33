//! Where faults happen on Windows, macOS and FreeBSD: on loopback, with ordinary sockets and processes. Silence
//! takes Linux' means.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

use deadpeer::platform;
use deadpeer_lab::{Pair, Program, release};

use super::cell::Outcome;
use super::expect::World;
use super::fault::Fault;
use super::method::{Method, lacking};
use super::run::{Limits, Place};
use crate::exit::Ended;

/// What the lab has set, for its reports: nothing.
pub(super) const SET: &str = "";
const ON_LINUX: &str = "only Linux lets the lab lose segments, and reset connections unheard";
const LINKS: &str = "only Linux has the network namespaces and TUN devices that an impaired link needs";

pub(super) fn alone(lab: impl FnOnce() -> Result<Ended, Box<dyn Error>>) -> Result<Ended, Box<dyn Error>> {
    lab()
}

/// All runs have the one loopback that there is.
pub(super) fn apart<R>(_nth: u64, run: impl FnOnce() -> R) -> io::Result<R> {
    Ok(run())
}

/// What is to be expected of this system.
pub(super) fn world() -> Result<World, Box<dyn Error>> {
    let platform = platform();
    Ok(World { lacks: lacking(&platform)?, platform, fin_timeout: None, outage: Duration::ZERO })
}

pub(super) fn limits(_full: bool) -> Limits {
    // Longer than the keepalive that is longest here, with ten probes.
    let never = Duration::from_secs(15);
    Limits { never, most: never, usual: never + Duration::from_secs(2) }
}

/// The system that was measured.
pub(super) fn system() -> String {
    release()
}

/// The connections of one fault.
pub(super) struct Scene;

impl Scene {
    pub(super) fn of(fault: Fault, _world: &World, _seed: u64) -> Result<Self, Box<dyn Error + Send + Sync>> {
        match fault {
            // Ordinary sockets and processes are enough.
            Fault::Closed
            | Fault::Killed
            | Fault::ClosedUnread
            | Fault::Aborted
            | Fault::Frozen
            | Fault::ShutWindow => Ok(Self),
            _ if fault.needs_link() => Err(LINKS.into()),
            _ => Err(ON_LINUX.into()),
        }
    }

    /// A connection: our end, and the peer's.
    pub(super) fn pair(&self, _method: Method) -> io::Result<(TcpStream, TcpStream)> {
        // Ours is the one that accepted: a child may inherit it, and keep it open (Windows).
        let Pair { client, server } = Pair::loopback()?;
        Ok((server, client))
    }

    pub(super) const fn is_loopback(&self) -> bool {
        true
    }

    pub(super) const fn cut(&self, _fault: Fault) -> io::Result<Option<Infallible>> {
        Ok(None)
    }

    pub(super) const fn scan(&self, _place: Place) -> Option<Outcome> {
        None
    }
}

pub(super) const fn suffer<'e>(
    _fault: Fault,
    _ours: &'e TcpStream,
    _theirs: Option<&'e TcpStream>,
) -> io::Result<Vec<&'e Infallible>> {
    Ok(Vec::new())
}

pub(super) fn forget(
    _ours: &TcpStream,
    _theirs: Option<TcpStream>,
    _process: Option<&mut Program>,
) -> io::Result<()> {
    Err(io::Error::other(ON_LINUX))
}

pub(super) fn sever(_pair: &Pair) -> io::Result<Infallible> {
    Err(io::Error::other(ON_LINUX))
}

pub(super) const fn scan(_ends: &[Place]) -> Vec<(Fault, Outcome)> {
    Vec::new()
}
