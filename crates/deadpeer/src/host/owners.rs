//! Which process holds which socket: a walk through /proc/PID/fd, shared by the machine's cores.
//!
//! The first walk runs beside the dump and looks at the descriptors of each process, which its threads usually
//! share. Sockets that nobody holds after it are looked for once more: in the tables of threads that have their
//! own, and in all others, since they may have been opened or passed on behind the first walk. What nobody holds
//! even then has its reason ([`unowned`](super::unowned)).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use deadpeer_core::{Known, Why};
use deadpeer_os::linux::descriptors::{self, Held, Table};
use deadpeer_os::linux::process;

use super::connection::{Connection, Owner, Process};
use super::shares;
use super::unowned::{Unowned, settle};

/// One descriptor of a socket. Ordered by socket, then by process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Holding {
    inode: u32,
    /// The process, or the thread whose table it is: their numbers are of one space.
    task: u32,
    fd: i32,
}

/// What a walk through all processes found.
#[derive(Default)]
pub(super) struct Walk {
    holdings: Vec<Holding>,
    /// Threads whose tables are not their process's, and their process.
    apart: BTreeMap<u32, u32>,
    /// Processes whose descriptors we may not see.
    unreadable: Vec<u32>,
    /// The network namespaces that somebody holds a descriptor of, by inode number, and one such descriptor.
    namespaces: BTreeMap<u64, PathBuf>,
}

impl Walk {
    /// Walks through all processes with `workers` threads, this one included.
    pub(super) fn all(workers: usize) -> Self {
        let mut pids = process::all().unwrap_or_default();
        pids.sort_unstable();
        let mut walk = Self::shared(&pids, workers, Self::look);
        walk.holdings.sort_unstable();
        walk
    }

    /// Calls `look` with each process, in `workers` threads, until it says that all is found.
    fn shared(pids: &[u32], workers: usize, look: impl Fn(&mut Self, u32) -> bool + Sync) -> Self {
        let next = AtomicUsize::new(0);
        let share = || {
            let mut walk = Self::default();
            while let Some(&pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
                if look(&mut walk, pid) {
                    break;
                }
            }
            walk
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(share)).collect();
            let mut walk = share();
            for other in others {
                if let Ok(other) = other.join() {
                    walk.join(other);
                }
            }
            walk
        })
    }

    fn join(&mut self, other: Self) {
        self.holdings.extend(other.holdings);
        self.apart.extend(other.apart);
        self.unreadable.extend(other.unreadable);
        self.namespaces.extend(other.namespaces);
    }

    /// The first look at a process.
    fn look(&mut self, pid: u32) -> bool {
        let leader = Table { pid, tid: None };
        // A process that exits at this very moment refuses like one that is closed to us, but only once.
        let read = match self.read(leader, |_| true) {
            Err(Why::NoPermission) => self.read(leader, |_| true),
            read => read,
        };
        match read {
            // A kernel thread, or a process whose first thread has exited.
            Ok(0) => {
                for table in descriptors::apart(pid) {
                    // One that exits meanwhile holds nothing.
                    let _ = self.read(table, |_| true);
                }
            }
            Ok(_) => {}
            Err(Why::NoPermission) => self.unreadable.push(pid),
            Err(_) => {}
        }
        false
    }

    fn read(&mut self, table: Table, wanted: impl Fn(u32) -> bool) -> Result<usize, Why> {
        let task = table.tid.unwrap_or(table.pid);
        let before = self.holdings.len();
        let read = descriptors::each(table, |fd, held| match held {
            Held::Socket(inode) if wanted(inode) => self.holdings.push(Holding { inode, task, fd }),
            Held::Socket(_) => {}
            Held::NetworkNamespace(inode) => {
                let path = || PathBuf::from(format!("{}/{fd}", table.folder()));
                self.namespaces.entry(inode.into()).or_insert_with(path);
            }
        });
        if table.tid.is_some() && self.holdings.len() > before {
            self.apart.insert(task, table.pid);
        }
        read
    }

    /// The network namespaces that somebody holds a descriptor of.
    pub(super) const fn namespaces(&self) -> &BTreeMap<u64, PathBuf> {
        &self.namespaces
    }

    /// How many processes could not be looked into.
    pub(super) fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    /// Fills in the owners of connections that have none yet.
    pub(super) fn fill(mut self, connections: &mut [Connection], workers: usize) {
        let mut missing = self.fill_in_known(connections);
        if missing.is_empty() {
            return;
        }
        let unreadable = std::mem::take(&mut self.unreadable);
        let unowned = Unowned::new(&unreadable);
        missing.retain(|(_, uid)| unowned.may_be_found(*uid));
        let mut wanted: Vec<_> = missing.into_iter().map(|(inode, _)| inode).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if !wanted.is_empty() {
            self.look_again(&wanted, workers);
            self.fill_in_known(connections);
        }
        for connection in &mut *connections {
            if connection.owner.why() == Some(Why::NotAsked) {
                connection.owner = Known::Not(unowned.why(connection.row.uid));
            }
        }
        settle(connections);
    }

    /// Fills in the owners that the walk found, and returns the sockets that remain, with their users.
    fn fill_in_known(&self, connections: &mut [Connection]) -> Vec<(u32, u32)> {
        let missing = shares::each(connections, |share| {
            let mut processes = BTreeMap::new();
            let mut missing = Vec::new();
            for connection in share {
                if connection.owner.why() == Some(Why::NotAsked) {
                    match self.owner(connection.row.inode, &mut processes) {
                        Some(owner) => connection.owner = owner,
                        None => missing.push((connection.row.inode, connection.row.uid)),
                    }
                }
            }
            missing
        });
        missing.concat()
    }

    /// Looks for certain sockets in all tables of all processes, first of those that hold others.
    fn look_again(&mut self, wanted: &[u32], workers: usize) {
        let mut pids = process::all().unwrap_or_default();
        let mut before: Vec<_> = self.holdings.iter().map(|holding| holding.task).collect();
        before.dedup();
        before.sort_unstable();
        pids.sort_unstable_by_key(|pid| (before.binary_search(pid).is_err(), *pid));
        let found: Vec<_> = wanted.iter().map(|_| AtomicBool::new(false)).collect();
        let missing = AtomicUsize::new(wanted.len());
        let is_wanted = |inode: u32| {
            let Ok(at) = wanted.binary_search(&inode) else { return false };
            if !found[at].swap(true, Ordering::Relaxed) {
                missing.fetch_sub(1, Ordering::Relaxed);
            }
            true
        };
        let look = |walk: &mut Self, pid: u32| {
            for table in [Table { pid, tid: None }].into_iter().chain(descriptors::apart(pid)) {
                let _ = walk.read(table, is_wanted);
            }
            missing.load(Ordering::Relaxed) == 0
        };
        let again = Self::shared(&pids, workers, look);
        self.holdings.extend(again.holdings);
        self.apart.extend(again.apart);
        self.holdings.sort_unstable();
        self.holdings.dedup();
    }

    /// Who holds the socket, as far as the walk has seen.
    fn owner(&self, inode: u32, processes: &mut BTreeMap<u32, Arc<Process>>) -> Option<Known<Owner>> {
        if inode == 0 {
            // No descriptor exists: not yet accepted, or closed and lingering in the kernel.
            return Some(Known::Not(Why::NoOwner));
        }
        let pid_of = |holding: &Holding| self.apart.get(&holding.task).copied().unwrap_or(holding.task);
        let first = self.holdings.partition_point(|holding| holding.inode < inode);
        let holders = self.holdings[first..].iter().take_while(|holding| holding.inode == inode);
        let holding = holders.clone().next()?;
        let pid = pid_of(holding);
        let count = match self.apart.is_empty() {
            // In order, then.
            true => {
                holders
                    .fold((0, None), |(count, last), holding| {
                        (count + u32::from(last != Some(holding.task)), Some(holding.task))
                    })
                    .0
            }
            false => u32::try_from(holders.map(pid_of).collect::<BTreeSet<_>>().len()).unwrap_or(u32::MAX),
        };
        let process = processes
            .entry(pid)
            .or_insert_with(|| Arc::new(Process { pid, name: process::name(pid), unit: process::unit(pid) }));
        let thread = (pid != holding.task).then_some(holding.task);
        Some(Known::Is(Owner { process: Arc::clone(process), thread, fd: holding.fd, processes: count }))
    }
}
