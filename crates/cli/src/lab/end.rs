//! One connection of the lab, ready for its fault.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use deadpeer::apply_settings;
use deadpeer::session::{Config, Offer, Session};
use deadpeer_lab::{Deaf, Network, Pair, Program, deafen, fill};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::fault::Fault;
use super::method::{BEAT, Method, PATIENCE};

/// A connection: our end with its method, and a peer to meet a fault.
pub(super) struct End {
    pub(super) method: Method,
    pub(super) client: TcpStream,
    /// Our end's heartbeat, where that is the method.
    pub(super) session: Option<Session>,
    server: Option<TcpStream>,
    peer_session: Option<Session>,
}

fn config() -> Config {
    Config::new(Offer::new(BEAT, BEAT, 3).at_most(PATIENCE))
}

impl End {
    /// A connection, and the process that holds its far end where that has to be one of its own.
    pub(super) fn new(
        fault: Fault,
        method: Method,
        network: Option<&Network>,
    ) -> Result<(Self, Option<Program>), Box<dyn Error + Send + Sync>> {
        let Pair { client, server } = match network {
            Some(network) => Pair::across(network, Network::RIGHT_V4[0].into())?,
            None => Pair::loopback()?,
        };
        if let Some(gap) = apply_settings(&client, &method.settings())?.gaps.first() {
            return Err(format!("this kernel does not take {gap}").into());
        }
        let beats = method == Method::Heartbeat;
        // A session can't vanish without a goodbye unless its process does.
        let reset = matches!(fault, Fault::Rebooted | Fault::MappingReset);
        let mut end = Self { method, client, session: None, server: None, peer_session: None };
        let mut process = None;
        if fault.needs_process() || (beats && reset) {
            process = Some(start(&server, beats)?);
        } else if beats {
            let server = server.try_clone()?;
            let peer = thread::spawn(move || Session::open(server, config(), "peer"));
            end.session = Some(Session::open(end.client.try_clone()?, config(), "lab")?);
            let peer = peer.join().map_err(|_| io::Error::other("the peer's greeting panicked"))?;
            end.peer_session = Some(peer?);
        }
        if beats && end.session.is_none() {
            end.session = Some(Session::open(end.client.try_clone()?, config(), "lab")?);
        }
        end.server = Some(server);
        Ok((end, process))
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
        let idle = self.session.is_none() && !fault.has_shut_window() && fault != Fault::ClosedUnread;
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
            Fault::Killed => {
                self.server = None;
                process.map_or(Ok(()), |process| process.kill())?;
            }
            Fault::Rebooted | Fault::MappingReset => {
                // Our end must not hear that the other goes.
                let deaf = deafen(&self.client)?;
                if let Some(server) = self.server.take() {
                    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO))?;
                }
                if let Some(process) = process {
                    process.kill()?;
                    process.wait()?;
                }
                drop(deaf);
            }
            _ => {}
        }
        Ok(())
    }

    /// Applies a fault that lasts until what is returned is dropped.
    pub(super) fn suffer(&self, fault: Fault) -> io::Result<Vec<Deaf<'_>>> {
        match (fault, &self.server) {
            (Fault::Silent | Fault::SilentInFlight | Fault::ShutThenSilent | Fault::Outage, Some(server)) => {
                Ok(vec![deafen(&self.client)?, deafen(server)?])
            }
            (Fault::OneWay, _) => Ok(vec![deafen(&self.client)?]),
            _ => Ok(Vec::new()),
        }
    }

    /// Sends what the peer is to acknowledge.
    pub(super) fn send(&self) -> io::Result<()> {
        match &self.session {
            Some(session) => session.send(&[0; 1024]),
            None => (&self.client).write_all(&[0; 1024]),
        }
    }
}

/// A process of its own that holds the far end.
fn start(server: &TcpStream, beats: bool) -> io::Result<Program> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["lab", "peer"]).args(beats.then_some("--beat"));
    command
        .stdin(Stdio::from(OwnedFd::from(server.try_clone()?)))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(Program::from(command.spawn()?))
}

/// `deadpeer lab peer`: holds the connection that is its stdin, until it is killed.
pub(super) fn be_peer(beats: bool) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let stream = TcpStream::from(rustix::io::dup(rustix::stdio::stdin())?);
    let _session = match beats {
        true => Some(Session::open(stream, config(), "peer")?),
        false => None,
    };
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}
