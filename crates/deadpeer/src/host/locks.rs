//! One run at a time asks in a network namespace: its questions would spoil another one's figures.
//!
//! Where this lock can't be had for want of a right, nothing is waited for: each socket is locked by itself while
//! something of it is changed (`deadpeer_os::linux::ask`), and that is enough to do no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_core::{Known, TcpState, Why};
use deadpeer_os::linux::lock::Lock;

use super::connection::Connection;
use super::namespace::Namespace;

/// The locks of the network namespaces that are asked in.
#[derive(Debug)]
pub(super) struct Locks {
    /// Let go with this.
    held: Vec<Lock>,
    busy: BTreeSet<u64>,
}

impl Locks {
    /// How long to wait for another run, in all.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Takes the lock of each namespace that has `connections`, always in the same order.
    pub(super) fn take(connections: &[Connection], cancel: &AtomicBool) -> Self {
        let deadline = Instant::now() + Self::PATIENCE;
        let namespaces: BTreeMap<_, _> =
            connections.iter().map(|each| (each.namespace.inode(), &each.namespace)).collect();
        let mut locks = Self { held: Vec::new(), busy: BTreeSet::new() };
        for (inode, namespace) in namespaces {
            match wait(namespace, deadline, cancel) {
                Wait::Held(lock) => locks.held.push(lock),
                Wait::Busy => drop(locks.busy.insert(inode)),
                Wait::NotToBeHad => {}
            }
        }
        locks
    }

    /// The namespaces that another run was asking in all the time, by inode number.
    pub(super) fn busy(&self) -> Vec<u64> {
        self.busy.iter().copied().collect()
    }

    /// The connections that may be asked, which come first from now on. The others say why they are not.
    pub(super) fn part<'c>(&self, connections: &'c mut [Connection]) -> &'c mut [Connection] {
        let is_busy = |connection: &Connection| self.busy.contains(&connection.namespace.inode());
        connections.sort_by_key(is_busy);
        let (free, busy) = connections.split_at_mut(connections.partition_point(|each| !is_busy(each)));
        for connection in busy {
            if matches!(connection.row.facts.state, TcpState::Established | TcpState::FinWait2) {
                connection.row.facts.asked = Some(Known::Not(Why::Busy));
            }
        }
        free
    }
}

enum Wait {
    Held(Lock),
    Busy,
    NotToBeHad,
}

fn wait(namespace: &Namespace, deadline: Instant, cancel: &AtomicBool) -> Wait {
    loop {
        match namespace.run(Lock::take) {
            Ok(Some(lock)) => return Wait::Held(lock),
            Ok(None) if Instant::now() >= deadline || cancel.load(Ordering::Relaxed) => return Wait::Busy,
            Ok(None) => thread::sleep(Duration::from_millis(20)),
            Err(_) => return Wait::NotToBeHad,
        }
    }
}
