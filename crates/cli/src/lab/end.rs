//! One connection of the lab, ready for its fault.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::apply_settings;
use deadpeer::session::{Config, Offer, Session};
use deadpeer_lab::{Program, fill};

use super::expect::World;
use super::fault::Fault;
use super::method::{BEAT, Method, PATIENCE};
use super::peer;
use super::run::Place;
use super::scene::{self, Scene};

/// A connection: our end with its method, and a peer to meet a fault.
pub(super) struct End {
    pub(super) method: Method,
    pub(super) client: TcpStream,
    /// Its addresses, ours and the peer's: a socket that was reset has forgotten them.
    addresses: (SocketAddr, SocketAddr),
    /// Our end's heartbeat, where that is the method.
    pub(super) session: Option<Session>,
    /// The peer's end, where it is not a process of its own.
    pub(super) server: Option<TcpStream>,
    peer_session: Option<Session>,
}

pub(super) fn config() -> Config {
    Config::new(Offer::new(BEAT, BEAT, PATIENCE))
}

/// A peer's program: it closes when its session tells that we are lost. It ends with our session at the latest.
fn close_when_over(session: Session) {
    while session.over_within(Duration::from_secs(1)).is_none() {}
}

impl End {
    /// A connection, and the process that holds its far end where that has to be one of its own.
    pub(super) fn new(
        fault: Fault,
        method: Method,
        scene: &Scene,
        world: &World,
    ) -> Result<(Self, Option<Program>), Box<dyn Error + Send + Sync>> {
        let beats = method == Method::Heartbeat;
        // A session can't vanish without a goodbye unless its process does.
        let abrupt = beats && fault.is_abrupt();
        let (client, server, process) = if fault.needs_process() || abrupt {
            let (client, process) = peer::start(beats, abrupt)?;
            (client, None, Some(process))
        } else {
            let (client, server) = scene.pair(method)?;
            (client, Some(server), None)
        };
        if let Some(gap) = apply_settings(&client, &method.settings(&world.platform))?.gaps.first() {
            return Err(format!("this system does not take {gap}").into());
        }
        let addresses = (client.local_addr()?, client.peer_addr()?);
        let mut end = Self { method, client, addresses, session: None, server, peer_session: None };
        if beats {
            // Our end greets first, and waits for the other's greeting.
            let theirs = end.server.as_ref().map(TcpStream::try_clone).transpose()?;
            let peer =
                theirs.map(|server| thread::spawn(move || Session::accept(server, &config().id("peer"))));
            end.session = Some(Session::connect(end.client.try_clone()?, &config().id("lab"))?);
            if let Some(peer) = peer {
                let peer = peer.join().map_err(|_| io::Error::other("the peer's greeting panicked"))??;
                if fault.is_noticed_by_the_peer() {
                    end.server = None;
                    thread::spawn(|| close_when_over(peer));
                } else {
                    end.peer_session = Some(peer);
                }
            }
        }
        Ok((end, process))
    }

    /// Where it is, for one who looks on.
    pub(super) const fn place(&self, fault: Fault, since: Instant) -> Place {
        let (local, peer) = self.addresses;
        Place { fault, method: self.method, local, peer, since }
    }

    /// Fills the peer's window: its program takes nothing.
    pub(super) fn shut(&self) -> io::Result<()> {
        match &self.session {
            None => fill(&self.client).map(drop),
            Some(session) => {
                while session.send_within(&[0; 32 * 1024], BEAT / 4).is_ok() {}
                Ok(())
            }
        }
    }

    /// A last sign of life, from which idle times count.
    pub(super) fn freshen(&self, fault: Fault) -> io::Result<()> {
        // Where our acknowledgement of it is lost, the peer sends it again: that would be a second sign of life.
        let spared = matches!(fault, Fault::ClosedUnread | Fault::OneWayOut);
        let idle = self.session.is_none() && !fault.has_shut_window() && !spared;
        if let Some(mut server) = self.server.as_ref().filter(|_| idle) {
            server.write_all(b"x")?;
            (&self.client).read_exact(&mut [0])?;
        }
        Ok(())
    }

    /// Lets the peer's end go in a way that needs nothing to be held.
    pub(super) fn leave(&mut self, fault: Fault, process: Option<&mut Program>) -> io::Result<()> {
        match fault {
            Fault::Closed | Fault::ClosedUnread => {
                self.peer_session = None;
                self.server = None;
            }
            Fault::Aborted | Fault::Killed => {
                if self.server.is_some() {
                    (&self.client).write_all(b"never read")?;
                }
                self.server = None;
                process.map_or(Ok(()), |process| process.kill())?;
            }
            Fault::Rebooted | Fault::MappingReset => {
                scene::forget(&self.client, self.server.take(), process)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends what the peer is to acknowledge.
    pub(super) fn send(&self, fault: Fault) -> io::Result<()> {
        // Of the latter each packet is a long one: 1448, 1448 and 1200 bytes of data.
        let data: &[u8] = if fault == Fault::BlackHole { &[0; 4096] } else { &[0; 1024] };
        match &self.session {
            Some(session) => session.send(data),
            None => (&self.client).write_all(data),
        }
    }
}
