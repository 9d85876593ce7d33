//! Listeners whose accept queue nobody empties.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use deadpeer_core::{Known, TcpState, Why};

use super::connection::Connection;

/// Finds the oldest connection that waits in each listener's queue, and says of those that wait that they
/// are not accepted rather than without an owner.
///
/// A connection that waits has no descriptor, hence no inode, and is its listener's by address and port. It
/// has sent no data, so the age of its last data sent is the age of its handshake
/// (`tcp_create_openreq_child` sets `lsndtime`).
pub(super) fn fill(connections: &mut [Connection]) {
    let listening: BTreeMap<SocketAddr, ()> = connections
        .iter()
        .filter(|connection| connection.row.facts.state == TcpState::Listen)
        .map(|connection| (connection.row.local, ()))
        .collect();
    if listening.is_empty() {
        return;
    }
    let mut oldest: BTreeMap<SocketAddr, Duration> = BTreeMap::new();
    for connection in connections.iter_mut() {
        let row = &connection.row;
        let waits = row.inode == 0 && matches!(row.facts.state, TcpState::Established | TcpState::CloseWait);
        if !waits {
            continue;
        }
        let Some(listener) = listeners_of(row.local).find(|address| listening.contains_key(address)) else {
            continue;
        };
        if connection.owner.why().is_some() {
            connection.owner = Known::Not(Why::NotAccepted);
        }
        if let Known::Is(age) = connection.row.facts.last_sent {
            let longest = oldest.entry(listener).or_default();
            *longest = age.max(*longest);
        }
    }
    for connection in connections {
        let row = &mut connection.row;
        if let Some(queue) = row.facts.accept_queue.as_mut().filter(|queue| queue.waiting > 0) {
            queue.oldest = oldest.get(&row.local).copied();
        }
    }
}

/// The addresses that a listener of a connection to `local` may have, the most exact first.
fn listeners_of(local: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    let any4 = IpAddr::from([0u8; 4]);
    let any6 = IpAddr::from([0u8; 16]);
    [Some(local.ip()), local.is_ipv4().then_some(any4), Some(any6)]
        .into_iter()
        .flatten()
        .map(move |ip| SocketAddr::new(ip, local.port()))
}
