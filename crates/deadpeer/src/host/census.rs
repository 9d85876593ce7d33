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
    until_whole(|| {
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
        torn.map_err(CensusError::Netlink)
    })
}

/// Takes a list again that is torn (NLM_F_DUMP_INTR) or has gaps (ENOBUFS). In the end a torn one is better
/// than none, one with gaps is not.
fn until_whole(mut take: impl FnMut() -> Result<bool, CensusError>) -> Result<bool, CensusError> {
    let mut taken = take();
    for _ in 1..SockDiag::ATTEMPTS {
        match &taken {
            Ok(true) => {}
            Err(CensusError::Netlink(error)) if error.is_transient() => {}
            Ok(false) | Err(_) => break,
        }
        taken = take();
    }
    taken
}

/// Opens a `sock_diag` socket inside `namespace`.
pub(super) fn open(namespace: &Namespace) -> Result<Diag, CensusError> {
    match namespace.run(|| Ok(Diag::open())) {
        Ok(opened) => opened.map_err(CensusError::Netlink),
        Err(error) => Err(CensusError::Namespace(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes lists as `script` says, and tells the result and how many were taken.
    fn taken(script: &[&str]) -> (Result<bool, CensusError>, usize) {
        let mut count = 0;
        let result = until_whole(|| {
            count += 1;
            match script[count - 1] {
                "whole" => Ok(false),
                "torn" => Ok(true),
                "gaps" => Err(CensusError::Netlink(netlink::Error::Overrun)),
                _ => Err(CensusError::Netlink(refused())),
            }
        });
        (result, count)
    }

    fn refused() -> netlink::Error {
        netlink::Error::Refused(io::Error::from_raw_os_error(2))
    }

    #[test]
    fn a_torn_list_and_one_with_gaps_are_taken_again() {
        assert!(matches!(taken(&["whole"]), (Ok(false), 1)));
        assert!(matches!(taken(&["torn", "gaps", "whole"]), (Ok(false), 3)));
        assert!(matches!(taken(&["torn"; 4]), (Ok(true), 4)));
        assert!(matches!(taken(&["gaps"; 4]), (Err(_), 4)));
        assert!(matches!(taken(&["refused"]), (Err(_), 1)));
    }

    #[test]
    fn a_kernel_without_inet_diag_is_told_so() {
        let text = CensusError::Netlink(refused()).to_string();
        assert!(text.contains("tcp_diag") && text.contains("CONFIG_INET_DIAG"), "{text}");
    }
}
