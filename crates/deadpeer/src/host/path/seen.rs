//! When the facts of each connection were taken: ages turn into instants with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use deadpeer_os::linux::diag::Cookie;

use super::super::connection::Connection;
use super::is_silent;

/// When the facts of silent connections were taken.
#[derive(Debug)]
pub(in super::super) struct Seen {
    /// Of all that were not seen again.
    listed: Instant,
    /// Of those that were asked: when their asking was over.
    asked: BTreeMap<(u64, Cookie), Instant>,
}

impl Seen {
    /// The list was taken just now.
    pub(in super::super) fn listed_now() -> Self {
        Self { listed: Instant::now(), asked: BTreeMap::new() }
    }

    /// The asking of `connection` is over just now.
    pub(in super::super) fn asked(&mut self, connection: &Connection) {
        if is_silent(&connection.row.facts) {
            self.asked.insert(key(connection), Instant::now());
        }
    }

    /// When the peer was first tried of those tries that went unanswered, at the latest; `None` where it is not
    /// silent.
    pub(super) fn silent_since(&self, connection: &Connection) -> Option<Instant> {
        let facts = &connection.row.facts;
        if !is_silent(facts) {
            return None;
        }
        let over = facts.silence().map_or(Duration::ZERO, |silence| silence.over);
        let seen = self.asked.get(&key(connection)).copied().unwrap_or(self.listed);
        // An age beyond this machine's own start is none that can be relied on: then the later instant.
        Some(seen.checked_sub(over).unwrap_or(seen))
    }
}

fn key(connection: &Connection) -> (u64, Cookie) {
    (connection.namespace.inode(), connection.row.cookie)
}
