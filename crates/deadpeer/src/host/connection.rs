//! A connection of this host, with its owner and its protection.

use std::io;
use std::sync::Arc;

use deadpeer_core::{
    Detection, Facts, Judgement, Known, Platform, Protection, Rules, Verdict, Why, detection, judge,
};
use deadpeer_os::linux::descriptors::Table;
use deadpeer_os::linux::diag::Row;
use deadpeer_os::linux::foreign;

use super::census::open;
use super::namespace::Namespace;
use super::path::is_this_host;

/// A process that holds sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name (`comm`), at most 15 bytes; `None` when it has exited.
    pub name: Option<String>,
    /// Its systemd unit, or the path of its cgroup where there is no unit.
    pub unit: Option<String>,
}

/// Who holds a socket.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The first process that does, by number.
    pub process: Arc<Process>,
    /// Its thread that holds it, where that has descriptors of its own or has outlived the process's first thread.
    pub thread: Option<u32>,
    /// Its descriptor.
    pub fd: i32,
    /// How many processes do.
    pub processes: u32,
}

impl Owner {
    /// The descriptor table that holds it.
    pub(super) fn table(&self) -> Table {
        Table { pid: self.process.pid, tid: self.thread }
    }

    /// Takes hold of whoever has the descriptor.
    ///
    /// # Errors
    /// [`Why::SocketGone`] when it has exited; [`Why::NotOnThisKernel`] before Linux 5.3, and for a
    /// [thread](Self::thread) before 6.9.
    pub fn open(&self) -> Result<foreign::Process, Why> {
        foreign::Process::of_table(self.table())
    }
}

/// A connection, or a listener.
#[derive(Clone, Debug)]
pub struct Connection {
    /// What the kernel listed.
    pub row: Row,
    /// Who holds it.
    pub owner: Known<Owner>,
    /// What is set on it.
    pub protection: Protection,
    /// The network namespace that it lives in.
    pub namespace: Arc<Namespace>,
}

impl Connection {
    /// What was seen of it.
    pub const fn facts(&self) -> &Facts {
        &self.row.facts
    }

    /// The system defaults that rule it.
    pub fn platform(&self) -> &Platform {
        self.namespace.platform()
    }

    /// Whether its peer is this host itself: by loopback, or by another of this host's addresses.
    pub fn is_to_this_host(&self) -> bool {
        is_this_host(self)
    }

    /// Ends this connection, whoever owns it: its owner sees ECONNABORTED at once, its peer RST. It takes
    /// CAP_NET_ADMIN.
    ///
    /// # Errors
    /// The kernel's: EPERM, EOPNOTSUPP (CONFIG_INET_DIAG_DESTROY), ENOENT when it is gone.
    #[doc(alias = "SOCK_DESTROY")]
    pub fn destroy(&self) -> io::Result<()> {
        let mut diag = open(&self.namespace).map_err(io::Error::other)?;
        diag.destroy(&self.row).map_err(|error| match error.refusal() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(error),
        })
    }

    /// How long its peer's death would go unnoticed.
    pub fn detection(&self) -> Detection {
        detection(&self.protection, self.platform(), self.row.facts.rto)
    }
}

/// A connection and what is to be thought of it.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'r> {
    /// The connection.
    pub connection: &'r Connection,
    /// The verdict on it.
    pub verdict: Verdict,
    pub(super) rules: &'r Rules,
}

impl Finding<'_> {
    /// The verdict with its cause and its evidence. It is made from the facts when it is asked for: a report
    /// of 200,000 connections would be half as large again with all of them in it.
    pub fn judgement(&self) -> Judgement {
        judge(self.connection.facts(), self.rules)
    }
}
