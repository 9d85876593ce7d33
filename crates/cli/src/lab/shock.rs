//! A fault on a connection of another program, undone on every way out.

use std::error::Error;
use std::io;
use std::process::{Command, Stdio};

use deadpeer::host::{Connection, Filter, Scan};
use deadpeer::{Known, Span};
use deadpeer_lab::{Foreign, Program};
use rustix::process::{Pid, Signal, kill_process};

use super::args::Shock;
use crate::exit::Ended;

/// A fault that is up until this is dropped, and a helper that takes it back if we are killed.
pub(super) struct Fault<'f> {
    shock: Shock,
    foreign: &'f Foreign,
    /// It undoes the fault when its stdin ends.
    helper: Option<Program>,
    frozen: Option<Pid>,
}

impl<'f> Fault<'f> {
    pub(super) fn apply(
        shock: Shock,
        foreign: &'f Foreign,
        victim: &Connection,
    ) -> Result<Self, Box<dyn Error>> {
        let mut fault = Self { shock, foreign, helper: None, frozen: None };
        let Known::Is(owner) = &victim.owner else { return Err("the connection has no owner".into()) };
        let (pid, fd, cookie) = (owner.process.pid, owner.fd, victim.row.cookie.0);
        match shock {
            Shock::Silent | Shock::Outage(_) => {
                fault.helper =
                    Some(helper(&["undeafen".into(), pid.to_string(), fd.to_string(), cookie.to_string()])?);
                foreign.deafen().map_err(|error| {
                    format!("the connection can't be made deaf: {error}; it takes CAP_NET_ADMIN (try sudo)")
                })?;
            }
            Shock::Frozen => {
                let peer = far_end(victim)?;
                fault.helper = Some(helper(&["thaw".into(), peer.as_raw_nonzero().to_string()])?);
                kill_process(peer, Signal::STOP).map_err(io::Error::from)?;
                fault.frozen = Some(peer);
            }
            Shock::Reset => victim.destroy().map_err(|error| {
                format!("the connection can't be ended: {error}; it takes CAP_NET_ADMIN (try sudo)")
            })?,
        }
        Ok(fault)
    }

    /// What is done, for the one who looks on.
    pub(super) fn words(&self) -> String {
        match (self.shock, self.frozen) {
            (Shock::Silent, _) => "its end hears nothing any more, as if the peer's host had died".to_owned(),
            (Shock::Outage(length), _) => format!("its end hears nothing for {}", Span(length)),
            (Shock::Reset, _) => "the connection is ended (SOCK_DESTROY)".to_owned(),
            (Shock::Frozen, Some(peer)) => {
                format!("process {} at the far end is stopped", peer.as_raw_nonzero())
            }
            (Shock::Frozen, None) => "the far end is stopped".to_owned(),
        }
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        match self.shock {
            // Where the socket is gone, there is nothing to undo.
            Shock::Silent | Shock::Outage(_) => drop(self.foreign.undeafen()),
            Shock::Frozen => {
                if let Some(peer) = self.frozen {
                    let _ = kill_process(peer, Signal::CONT);
                }
            }
            Shock::Reset => {}
        }
        // It has nothing left to undo.
        drop(self.helper.take());
    }
}

/// The process on this machine that holds the other end.
fn far_end(victim: &Connection) -> Result<Pid, Box<dyn Error>> {
    let filter = Filter::parse([format!("local::{}", victim.row.peer.port())])?;
    let report = Scan::new().filter(filter).settings(false).run()?;
    let findings = report.findings();
    let far = findings.iter().map(|finding| finding.connection).find(|connection| {
        (connection.row.local, connection.row.peer) == (victim.row.peer, victim.row.local)
    });
    match far.map(|far| &far.owner) {
        Some(Known::Is(owner)) => i32::try_from(owner.process.pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| "the far end has no process".into()),
        _ => Err("the far end is no process of this machine that we can see: it can't be frozen".into()),
    }
}

/// Starts a second self that undoes the fault as soon as this process is gone, however it went.
fn helper(undo: &[String]) -> io::Result<Program> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["lab", "undo"]).args(undo).stdin(Stdio::piped()).stdout(Stdio::null());
    // Ctrl-C is for us; it waits for our end.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map(Program::from)
}

/// `deadpeer lab undo`: waits for the end of stdin, and undoes.
pub(super) fn undo(what: &[String]) -> Result<Ended, Box<dyn Error>> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    match what {
        [kind, pid, fd, cookie] if kind == "undeafen" => {
            Foreign::new(pid.parse()?, fd.parse()?, cookie.parse()?)?.undeafen()?;
        }
        [kind, pid] if kind == "thaw" => {
            let pid = Pid::from_raw(pid.parse()?).ok_or("no such process")?;
            kill_process(pid, Signal::CONT)?;
        }
        _ => return Err("nothing to undo".into()),
    }
    Ok(Ended::Well)
}
