//! Why a socket has no owner that can be seen.

use std::collections::{BTreeMap, BTreeSet};

use deadpeer_core::{Known, Why};
use deadpeer_os::linux::process;

use super::census;
use super::connection::Connection;

/// What may stand between us and the owners of sockets.
pub(super) struct Unowned {
    /// The users of processes that we may not look into; of some it is not known.
    closed_users: BTreeSet<Option<u32>>,
    ours: u32,
    /// We may look into any process, but for those with more rights than ours.
    privileged: bool,
    beyond: Option<Why>,
}

impl Unowned {
    /// `unreadable` are the processes whose descriptors we may not see.
    pub(super) fn new(unreadable: &[u32]) -> Self {
        let beyond = match () {
            () if process::others_are_hidden() => Some(Why::Hidden),
            () if !process::sees_all_pid_namespaces() => Some(Why::OutsidePidNamespace),
            () => None,
        };
        Self {
            // Whoever has exited meanwhile holds nothing, but may have passed it on.
            closed_users: unreadable.iter().map(|&pid| process::user(pid)).collect(),
            ours: rustix::process::geteuid().as_raw(),
            privileged: process::is_capable(process::CAP_SYS_PTRACE),
            beyond,
        }
    }

    /// Whether it is worth looking again for a socket that user `uid` has made: not for the many that others' closed
    /// processes are bound to hold.
    pub(super) fn may_be_found(&self, uid: u32) -> bool {
        self.privileged || uid == self.ours || self.closed_users.is_empty()
    }

    /// Why nobody is seen to hold a socket that user `uid` has made.
    pub(super) fn why(&self, uid: u32) -> Why {
        let ours_are_open = !self.closed_users.contains(&Some(self.ours));
        match (self.closed_users.is_empty(), self.beyond) {
            // A socket's user is who made it; those who make sockets for others are few.
            (false, _) if self.privileged || (uid == self.ours && ours_are_open) => Why::NotSeen,
            (false, _) => Why::NoPermission,
            (true, Some(Why::Hidden)) if uid == self.ours => Why::NotSeen,
            (true, Some(beyond)) => beyond,
            (true, None) => Why::NoProcess,
        }
    }
}

/// Sockets that nobody holds may have been closed since the list was taken: looks at them again.
pub(super) fn settle(connections: &mut [Connection]) {
    /// Some microseconds each.
    const MOST: usize = 2000;
    let lost = |connection: &&mut Connection| {
        let why = connection.owner.why();
        connection.row.inode != 0
            && matches!(why, Some(Why::NoProcess | Why::NotSeen | Why::Hidden | Why::OutsidePidNamespace))
    };
    let mut diags = BTreeMap::new();
    for connection in connections.iter_mut().filter(lost).take(MOST) {
        let diag = diags
            .entry(connection.namespace.inode())
            .or_insert_with(|| census::open(&connection.namespace).ok());
        let Some(diag) = diag else { continue };
        match diag.again(&connection.row) {
            Ok(None) => connection.owner = Known::Not(Why::SocketGone),
            Ok(Some(row)) if row.inode == 0 => connection.owner = Known::Not(Why::NoOwner),
            Ok(Some(_)) | Err(_) => {}
        }
    }
}
