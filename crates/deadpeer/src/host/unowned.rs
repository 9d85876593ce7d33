//! Why a socket has no owner that can be seen.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use deadpeer_core::{Known, Why};
use deadpeer_os::linux::process;

use super::census;
use super::connection::Connection;

/// What may stand between us and the owners of sockets. Each fact is looked up when it is first needed: usually none
/// is.
pub(super) struct Unowned<'w> {
    /// Processes whose descriptors we may not see.
    unreadable: &'w [u32],
    ours: u32,
    /// We may look into any process, but for those with more rights than ours.
    privileged: bool,
    ours_are_open: OnceLock<bool>,
    beyond: OnceLock<Option<Why>>,
}

impl<'w> Unowned<'w> {
    pub(super) fn new(unreadable: &'w [u32]) -> Self {
        Self {
            unreadable,
            ours: rustix::process::geteuid().as_raw(),
            privileged: process::is_capable(process::CAP_SYS_PTRACE),
            ours_are_open: OnceLock::new(),
            beyond: OnceLock::new(),
        }
    }

    /// Whether it is worth looking again for a socket that user `uid` has made: not for the many that others' closed
    /// processes are bound to hold.
    pub(super) fn may_be_found(&self, uid: u32) -> bool {
        self.privileged || uid == self.ours || self.unreadable.is_empty()
    }

    /// Why nobody is seen to hold a socket that user `uid` has made.
    pub(super) fn why(&self, uid: u32) -> Why {
        // A socket's user is who made it; those who make sockets for others are few.
        let ours = uid == self.ours;
        if !self.unreadable.is_empty() {
            let seen = self.privileged || (ours && self.ours_are_open());
            return if seen { Why::NotSeen } else { Why::NoPermission };
        }
        match self.beyond() {
            Some(Why::Hidden) if ours => Why::NotSeen,
            Some(beyond) => beyond,
            None => Why::NoProcess,
        }
    }

    /// Whether no process of our own user is closed to us.
    fn ours_are_open(&self) -> bool {
        let is_ours = |pid: &u32| process::user(*pid) == Some(self.ours);
        *self.ours_are_open.get_or_init(|| !self.unreadable.iter().any(is_ours))
    }

    /// What keeps processes out of our sight altogether.
    fn beyond(&self) -> Option<Why> {
        *self.beyond.get_or_init(|| match () {
            () if process::others_are_hidden() => Some(Why::Hidden),
            () if !process::sees_all_pid_namespaces() => Some(Why::OutsidePidNamespace),
            () => None,
        })
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
