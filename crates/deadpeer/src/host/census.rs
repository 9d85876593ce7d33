//! Where the list of connections comes from.
//!
//! A [`Census`] takes the list; what it leaves out (owners, protection) is completed by the passes in
//! [`owners`](super::owners) and [`protection`](super::protection). So a source that knows more, as a BPF
//! iterator does, fills in more, and nothing else changes.

use std::fmt;
use std::io;
use std::sync::Arc;

use deadpeer_core::{Known, Protection, Why};
use deadpeer_os::linux::diag::{Diag, Family, States};
use deadpeer_os::linux::netlink;

use super::connection::Connection;
use super::namespace::Namespace;

/// What a census is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// Sockets in these states.
    pub states: States,
}

/// The list of one network namespace.
#[derive(Debug)]
pub struct Taken {
    /// The connections. Where the source does not know an owner or a protection, it says
    /// [`Why::NotAsked`], and it is completed.
    pub connections: Vec<Connection>,
    /// Whether the list is torn: it changed while it was taken, even when that was repeated.
    pub torn: bool,
}

/// A source of connections.
pub trait Census: Send + Sync {
    /// Lists the sockets of `namespace`.
    ///
    /// # Errors
    /// [`CensusError`].
    fn take(&self, namespace: &Arc<Namespace>, want: Want) -> Result<Taken, CensusError>;
}

/// Why there is no list.
#[derive(Debug)]
#[non_exhaustive]
pub enum CensusError {
    /// Netlink failed.
    Netlink(netlink::Error),
    /// The namespace could not be entered.
    Namespace(io::Error),
}

impl fmt::Display for CensusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ENOENT: i32 = 2;
        match self {
            Self::Netlink(error) if error.refusal() == Some(ENOENT) => f.write_str(
                "this kernel can't list TCP sockets: load the module tcp_diag (CONFIG_INET_DIAG, \
                 CONFIG_INET_TCP_DIAG)",
            ),
            Self::Netlink(error) => write!(f, "the kernel's list of TCP sockets can't be read: {error}"),
            Self::Namespace(error) => write!(f, "a network namespace can't be entered: {error}"),
        }
    }
}

impl std::error::Error for CensusError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Netlink(error) => Some(error),
            Self::Namespace(error) => Some(error),
        }
    }
}

/// The kernel's own list: one `sock_diag` dump a family.
#[derive(Clone, Copy, Debug, Default)]
pub struct SockDiag;

impl SockDiag {
    /// A torn list is taken again this often.
    const ATTEMPTS: u32 = 4;
}

impl Census for SockDiag {
    fn take(&self, namespace: &Arc<Namespace>, want: Want) -> Result<Taken, CensusError> {
        let mut taken = Taken { connections: Vec::new(), torn: false };
        // Both, whatever is looked for: IPv6 sockets hold IPv4 connections, too.
        for family in [Family::V4, Family::V6] {
            taken.torn |= dump(namespace, family, want.states, &mut taken.connections)?;
        }
        Ok(taken)
    }
}

/// Appends the sockets of one family, and says whether the list stayed torn.
fn dump(
    namespace: &Arc<Namespace>,
    family: Family,
    states: States,
    connections: &mut Vec<Connection>,
) -> Result<bool, CensusError> {
    let start = connections.len();
    for attempt in 1.. {
        connections.truncate(start);
        // A new socket each time: an overrun one may still hold the rest of the old answer.
        let mut diag = open(namespace)?;
        let torn = diag.dump(family, states, |row| {
            connections.push(Connection {
                row,
                owner: Known::Not(Why::NotAsked),
                protection: Protection::unknown(Why::NotAsked),
                namespace: Arc::clone(namespace),
            });
        });
        match torn {
            Ok(false) => return Ok(false),
            Ok(true) if attempt >= SockDiag::ATTEMPTS => return Ok(true),
            Err(error) if !error.is_transient() || attempt >= SockDiag::ATTEMPTS => {
                return Err(CensusError::Netlink(error));
            }
            Ok(true) | Err(_) => {}
        }
    }
    unreachable!("the loop above ends by its last attempt")
}

/// Opens a `sock_diag` socket inside `namespace`.
pub(super) fn open(namespace: &Namespace) -> Result<Diag, CensusError> {
    match namespace.run(|| Ok(Diag::open())) {
        Ok(opened) => opened.map_err(CensusError::Netlink),
        Err(error) => Err(CensusError::Namespace(error)),
    }
}
