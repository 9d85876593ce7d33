//! Where faults happen, and how: Linux' loopback and routers, in namespaces of the lab's own.

use std::error::Error;
use std::fs;
use std::io;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use deadpeer::host::{Filter, Namespace, Pace, Row, Scan};
use deadpeer::{Rules, Verdict};
use deadpeer_lab::{
    Chance, Cut, Deaf, Direction, ImpairedLink, Impairment, Loopback, Network, Pair, Program, deafen, release,
};

use super::cell::Outcome;
use super::expect::{SCAN_AFTER, World};
use super::fault::Fault;
use super::method::{Method, lacking};
use super::run::{Limits, Place};
use crate::alone::Alone;
use crate::exit::Ended;
use crate::signals;

const ALONE: Alone = Alone { name: "lab", inside: "DEADPEER_LAB_INSIDE" };
/// How long a reset may be on its way across this machine.
const RESET_ARRIVES: Duration = Duration::from_secs(5);
const RETRIES: u8 = 5;
const FIN_TIMEOUT: Duration = Duration::from_secs(6);
/// What the lab has set, for its reports.
pub(super) const SET: &str = ", tcp_retries2 = 5, tcp_fin_timeout = 6 s";

/// Runs `lab` in a network namespace of its own.
pub(super) fn alone(lab: impl FnOnce() -> Result<Ended, Box<dyn Error>>) -> Result<Ended, Box<dyn Error>> {
    if ALONE.is_inside() {
        Loopback::up()?;
        return lab();
    }
    // Ctrl-C reaches both; the one inside prints what it has and ends.
    let _cancel = signals::cancel()?;
    ALONE.run_again(|error| {
        format!(
            "the lab needs a network namespace of its own ({error}): allow user namespaces, or run it as root"
        )
    })
}

/// Lets the nth of several runs have a loopback of its own, where it alone asks peers. The first has the one that
/// segments are captured on.
pub(super) fn apart<R: Send>(nth: u64, run: impl FnOnce() -> R + Send) -> io::Result<R> {
    match nth {
        0 => Ok(run()),
        _ => Loopback::another(|| {
            shorten(RETRIES, FIN_TIMEOUT)?;
            Ok(run())
        }),
    }
}

/// Sets this namespace up, and tells what is to be expected in it.
pub(super) fn world() -> Result<World, Box<dyn Error>> {
    shorten(RETRIES, FIN_TIMEOUT)?;
    let platform = *Namespace::current()?.platform();
    Ok(World {
        lacks: lacking(&platform)?,
        platform,
        fin_timeout: Some(FIN_TIMEOUT),
        outage: Duration::from_millis(700),
    })
}

/// Sets this thread's network namespace so that waits end within a run.
///
/// # Errors
/// Without the right to write its sysctls.
fn shorten(retries: u8, fin_timeout: Duration) -> io::Result<()> {
    fs::write("/proc/sys/net/ipv4/tcp_retries2", retries.to_string())?;
    fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", fin_timeout.as_secs().to_string())
}

pub(super) fn limits(full: bool) -> Limits {
    let seconds = Duration::from_secs;
    let usual = seconds(if full { 80 } else { 18 });
    Limits { never: seconds(12), most: seconds(if full { 100 } else { 45 }), usual }
}

/// The system that was measured.
pub(super) fn system() -> String {
    format!("Linux {}", release())
}

/// The connections of one fault, and what lies between their ends.
pub(super) enum Scene {
    /// One scan sees all connections there.
    Loopback,
    Routed(Network),
    Linked(ImpairedLink),
}

impl Scene {
    /// Loopback, three hosts, or two hosts and an impaired link.
    pub(super) fn of(fault: Fault, world: &World, seed: u64) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let shorten = || shorten(world.platform.retries.value().unwrap_or(RETRIES), FIN_TIMEOUT);
        Ok(match fault {
            _ if fault.needs_router() => {
                let network = Network::new()?;
                network.left(shorten)?;
                Self::Routed(network)
            }
            _ if fault.needs_link() => {
                let link = ImpairedLink::with_seed(seed)?;
                link.left(shorten)?;
                Self::Linked(link)
            }
            _ => Self::Loopback,
        })
    }

    /// A connection: our end, and the peer's.
    pub(super) fn pair(&self, method: Method) -> io::Result<(TcpStream, TcpStream)> {
        let Pair { client, server } = match self {
            Self::Routed(network) => Pair::across(network, Network::RIGHT_V4[0].into())?,
            // On addresses of their own methods have losses of their own.
            Self::Linked(link) => Pair::across(link, ImpairedLink::RIGHT_V4[method as usize].into())?,
            Self::Loopback => Pair::loopback()?,
        };
        Ok((client, server))
    }

    /// Whether all is on loopback, where one scan sees all connections.
    pub(super) const fn is_loopback(&self) -> bool {
        matches!(self, Self::Loopback)
    }

    /// A fault of the path: until what is returned is dropped, or as long as there is this.
    pub(super) fn cut(&self, fault: Fault) -> io::Result<Option<Cut<'_>>> {
        match (self, fault) {
            (Self::Routed(network), Fault::Unreachable) => network.unreachable(Direction::Both).map(Some),
            (Self::Routed(network), _) => network.cut(Direction::Both).map(Some),
            (Self::Linked(link), _) => {
                let (direction, impairment) = impairment(fault);
                link.set(direction, impairment);
                Ok(None)
            }
            (Self::Loopback, _) => Ok(None),
        }
    }

    /// Scans one connection to another host.
    pub(super) fn scan(&self, place: Place) -> Option<Outcome> {
        let asked = || Ok(scan(&[place]).pop());
        let wait = || thread::sleep(SCAN_AFTER.saturating_sub(place.since.elapsed()));
        let told = match self {
            Self::Loopback => return None,
            Self::Routed(network) => {
                wait();
                network.left(asked)
            }
            Self::Linked(link) => {
                wait();
                link.left(asked)
            }
        };
        Some(told.ok().flatten().map_or_else(
            || Outcome::LeftOut { why: "the scan found no such connection".to_owned() },
            |(_, outcome)| outcome,
        ))
    }
}

/// What a link does to packets.
fn impairment(fault: Fault) -> (Direction, Impairment) {
    const ONE_WAY: Duration = Duration::from_millis(1100);
    const LOSS: Chance = Chance::percent(10);
    const HOLE: usize = 1000;

    let perfect = Impairment::new();
    match fault {
        Fault::OneWayOut => (Direction::LeftToRight, perfect.drop_all()),
        Fault::BlackHole => (Direction::Both, perfect.drop_longer_than(HOLE)),
        Fault::LongRoundTrip => (Direction::Both, perfect.delay(ONE_WAY)),
        Fault::Lossy => (Direction::Both, perfect.lose(LOSS)),
        _ => (Direction::Both, perfect),
    }
}

/// Applies a fault of the ends, until what is returned is dropped.
pub(super) fn suffer<'e>(
    fault: Fault,
    ours: &'e TcpStream,
    theirs: Option<&'e TcpStream>,
) -> io::Result<Vec<Deaf<'e>>> {
    match (fault, theirs) {
        (Fault::Silent | Fault::SilentInFlight | Fault::ShutThenSilent | Fault::Outage, Some(theirs)) => {
            Ok(vec![deafen(ours)?, deafen(theirs)?])
        }
        (Fault::OneWay, _) => Ok(vec![deafen(ours)?]),
        _ => Ok(Vec::new()),
    }
}

/// Lets the peer's end go with a reset that we do not hear.
pub(super) fn forget(
    ours: &TcpStream,
    theirs: Option<TcpStream>,
    process: Option<&mut Program>,
) -> io::Result<()> {
    let deaf = deafen(ours)?;
    if let Some(theirs) = theirs {
        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO))?;
    }
    if let Some(process) = process {
        process.kill()?;
        process.wait()?;
    }
    // On a busy machine the reset is still on its way, and would be heard.
    match deaf.await_drop(RESET_ARRIVES)? {
        true => Ok(()),
        false => Err(io::Error::other("the peer's host has sent no reset")),
    }
}

/// Lets the hosts of both ends die, until what is returned is dropped.
pub(super) fn sever(pair: &Pair) -> io::Result<impl Sized + '_> {
    pair.sever()
}

/// Asks the peers of these connections, all in one scan, and tells what it noticed.
pub(super) fn scan(ends: &[Place]) -> Vec<(Fault, Outcome)> {
    let left_out = |why: &dyn std::fmt::Display| {
        let why = why.to_string();
        ends.iter().map(|end| (end.fault, Outcome::LeftOut { why: why.clone() })).collect()
    };
    let ports = ends.iter().map(|end| format!("local::{}", end.local.port()));
    let filter = match Filter::parse(ports) {
        Ok(filter) => filter,
        Err(error) => return left_out(&error),
    };
    // The scan looks a second after the peer has closed.
    let rules = Rules { leaked_after: SCAN_AFTER / 2, ..Rules::default() };
    let report = match Scan::new().filter(filter).rules(rules).probe(Pace::default()).run() {
        Ok(report) => report,
        Err(error) => return left_out(&error),
    };
    let findings = report.findings();
    ends.iter()
        .map(|end| {
            let after = end.since.elapsed();
            // A port may serve several connections: both ends tell which.
            let ours = |row: &Row| (row.local, row.peer) == (end.local, end.peer);
            let finding = findings.iter().find(|finding| ours(&finding.connection.row));
            let outcome = match finding {
                None => Outcome::LeftOut { why: "the scan found no such connection".to_owned() },
                Some(finding) if is_noticed(finding.verdict, end.fault) => {
                    Outcome::Noticed { after, how: finding.verdict.to_string() }
                }
                Some(_) => Outcome::Not { watched: after },
            };
            (end.fault, outcome)
        })
        .collect()
}

/// Whether a verdict says that something is wrong with the connection. A stalled connection is one that data is stuck
/// in, which is what a black hole does; elsewhere it would be a hint at most.
const fn is_noticed(verdict: Verdict, fault: Fault) -> bool {
    match verdict {
        // The kernel may give up with data in flight before the scan has its proof.
        Verdict::Dead | Verdict::Leaked | Verdict::Ended => true,
        Verdict::Stalled => matches!(fault, Fault::BlackHole),
        _ => false,
    }
}
