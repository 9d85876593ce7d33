//! Which process holds which socket: a walk through /proc/PID/fd, shared by the machine's cores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use deadpeer_core::{Known, Why};
use deadpeer_os::linux::process;

use super::connection::{Connection, Owner, Process};
use super::shares;

/// One descriptor of a socket. Ordered by socket, then by process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Holding {
    inode: u32,
    pid: u32,
    fd: i32,
}

/// What a walk through all processes found.
pub(super) struct Walk {
    holdings: Vec<Holding>,
    /// Processes whose descriptors we may not see.
    closed_to_us: bool,
}

impl Walk {
    /// Walks through all processes with `workers` threads, this one included.
    pub(super) fn all(workers: usize) -> Self {
        let mut pids = process::all().unwrap_or_default();
        pids.sort_unstable();
        let next = AtomicUsize::new(0);
        let mut walk = thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(|| Self::share(&pids, &next))).collect();
            let mut walk = Self::share(&pids, &next);
            for other in others {
                let Ok(other) = other.join() else { continue };
                walk.holdings.extend(other.holdings);
                walk.closed_to_us |= other.closed_to_us;
            }
            walk
        });
        walk.holdings.sort_unstable();
        walk
    }

    /// Takes processes that nobody has taken yet, until there are none.
    fn share(pids: &[u32], next: &AtomicUsize) -> Self {
        let mut walk = Self { holdings: Vec::new(), closed_to_us: false };
        while let Some(&pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
            let walked = process::sockets(pid, |fd, inode| walk.holdings.push(Holding { inode, pid, fd }));
            walk.closed_to_us |= walked == Err(Why::NoPermission);
        }
        walk
    }

    /// Fills in the owners of connections that have none yet.
    pub(super) fn fill(&self, connections: &mut [Connection]) {
        shares::each(connections, |share| {
            let mut processes = BTreeMap::new();
            for connection in share {
                if connection.owner.why() == Some(Why::NotAsked) {
                    connection.owner = self.owner(connection.row.inode, &mut processes);
                }
            }
        });
    }

    fn owner(&self, inode: u32, processes: &mut BTreeMap<u32, Arc<Process>>) -> Known<Owner> {
        if inode == 0 {
            // No descriptor exists: not yet accepted, or closed and lingering in the kernel.
            return Known::Not(Why::NoOwner);
        }
        let first = self.holdings.partition_point(|holding| holding.inode < inode);
        let mut holders = self.holdings[first..].iter().take_while(|holding| holding.inode == inode);
        let Some(holding) = holders.next() else {
            return Known::Not(if self.closed_to_us { Why::NoPermission } else { Why::NoOwner });
        };
        let (mut count, mut last) = (1, holding.pid);
        for holder in holders {
            count += u32::from(holder.pid != last);
            last = holder.pid;
        }
        let process = processes.entry(holding.pid).or_insert_with(|| {
            let pid = holding.pid;
            Arc::new(Process { pid, name: process::name(pid), unit: process::unit(pid) })
        });
        Known::Is(Owner { process: Arc::clone(process), fd: holding.fd, processes: count })
    }
}
