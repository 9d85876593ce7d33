//! What is known of the packet loss on the way to each peer.
//!
//! Two sources: the connections' own retransmissions, and the questions of this run that living peers left
//! unanswered before they answered one. Both are counted for each peer address, and once more for all peers of a
//! network namespace, so that a lossy uplink shows even where each peer has one connection. The worse of the two
//! counts. Peers on this host lose nothing and are left out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use deadpeer_core::Loss;

use super::super::connection::Connection;
use super::target::on_this_host;

/// A peer in a network namespace, by the namespace's inode number.
pub(super) type Path = (u64, IpAddr);

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    packets: u64,
    lost: u64,
    tries: u64,
    unanswered: u64,
}

impl Sample {
    fn loss(&self) -> Loss {
        let packets = Loss::measured(self.lost, self.packets);
        packets.max(Loss::measured_by_tries(self.unanswered, self.tries))
    }
}

#[derive(Debug, Default)]
pub(super) struct Losses {
    peers: BTreeMap<Path, Sample>,
    namespaces: BTreeMap<u64, Sample>,
}

impl Losses {
    /// What the connections tell by themselves.
    pub(super) fn of(connections: &[Connection]) -> Self {
        let mut losses = Self::default();
        for connection in connections {
            let (lost, packets) = connection.row.facts.losses();
            if packets == 0 || on_this_host(&connection.row) {
                continue;
            }
            losses.add((connection.namespace.inode(), connection.row.peer.ip()), |sample| {
                sample.lost += u64::from(lost);
                sample.packets += u64::from(packets);
            });
        }
        losses
    }

    /// A peer on `path` answered the question after `unanswered` others.
    pub(super) fn add_tries(&mut self, path: Option<Path>, unanswered: u64) {
        let Some(path) = path else { return };
        self.add(path, |sample| {
            sample.tries += unanswered + 1;
            sample.unanswered += unanswered;
        });
    }

    fn add(&mut self, path: Path, count: impl Fn(&mut Sample)) {
        count(self.peers.entry(path).or_default());
        count(self.namespaces.entry(path.0).or_default());
    }

    /// The loss on a path, at most; the worse of what its peer and its namespace show.
    pub(super) fn on(&self, path: Path) -> Loss {
        let samples = [self.peers.get(&path), self.namespaces.get(&path.0)];
        samples.into_iter().flatten().map(Sample::loss).max().unwrap_or(Loss::ASSUMED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_of_peer_and_namespace_counts() {
        let (near, far) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut losses = Losses::default();
        assert_eq!(losses.on((1, near)), Loss::ASSUMED);
        for _ in 0..1_000 {
            losses.add_tries(Some((1, near)), 0);
        }
        for _ in 0..100 {
            losses.add_tries(Some((1, far)), 1);
        }
        // Half of the tries to `far` failed: some 29 % each way. All others hide that of the namespace.
        assert!(losses.on((1, far)).permille() > 290);
        assert_eq!(losses.on((1, near)), Loss::ASSUMED);
        assert_eq!(losses.on((2, far)), Loss::ASSUMED, "another namespace is another host");
        // Now everybody loses, each peer seen once: the uplink shows it.
        for last in 0..100u8 {
            losses.add_tries(Some((3, IpAddr::from([10, 0, 1, last]))), 2);
        }
        assert!(losses.on((3, IpAddr::from([10, 0, 1, 200]))).permille() > 400);
    }
}
