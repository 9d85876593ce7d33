//! Our own way to peers that are silent: route, carrier, neighbour, and what other peers behind the same
//! first hop say.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use deadpeer_core::{Facts, Hop, Known, Others, Path, TcpState, Why};
use deadpeer_os::linux::netlink;
use deadpeer_os::linux::route::{Neighbour, NextHop, Routes};

use super::connection::Connection;
use super::namespace::Namespace;

/// How many heard peers are looked at to find one behind the same hop: each takes a question to the kernel.
const LOOKED_AT: usize = 512;

/// Fills in the path of every connection whose peer is silent. `witnesses` are all connections, whether
/// they are to be judged or not.
pub(super) fn fill(connections: &mut [Connection], witnesses: &Witnesses) {
    let mut suspects: BTreeMap<u64, (Arc<Namespace>, Vec<&mut Connection>)> = BTreeMap::new();
    for connection in connections {
        if is_silent(&connection.row.facts) {
            let namespace = Arc::clone(&connection.namespace);
            suspects.entry(namespace.inode()).or_insert((namespace, Vec::new())).1.push(connection);
        }
    }
    for (inode, (namespace, suspects)) in suspects {
        // Without an answer the path stays unknown, and nobody is called dead over it.
        let Ok(Ok(routes)) = namespace.run(|| Ok::<_, io::Error>(Routes::open())) else { continue };
        let mut look = Look { routes, known: BTreeMap::new() };
        look.fill(suspects, witnesses.of(inode));
    }
}

fn is_silent(facts: &Facts) -> bool {
    facts.state == TcpState::Established && facts.silence().is_some()
}

/// When each peer was last heard, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    heard: BTreeMap<u64, BTreeMap<IpAddr, Duration>>,
}

impl Witnesses {
    /// Takes down a connection's peer.
    pub(super) fn add(&mut self, connection: &Connection) {
        let facts = &connection.row.facts;
        if facts.state != TcpState::Established || connection.row.peer.ip().is_loopback() {
            return;
        }
        if let Known::Is(ago) = facts.last_heard {
            let peers = self.heard.entry(connection.namespace.inode()).or_default();
            let youngest = peers.entry(connection.row.peer.ip()).or_insert(ago);
            *youngest = ago.min(*youngest);
        }
    }

    /// The peers in one namespace, those heard last first.
    fn of(&self, namespace: u64) -> Vec<(IpAddr, Duration)> {
        let mut peers: Vec<_> =
            self.heard.get(&namespace).into_iter().flatten().map(|(ip, ago)| (*ip, *ago)).collect();
        peers.sort_by_key(|(_, ago)| *ago);
        peers
    }
}

/// One namespace, looked at.
struct Look {
    routes: Routes,
    known: BTreeMap<IpAddr, Result<(Hop, NextHop), Why>>,
}

impl Look {
    fn fill(&mut self, suspects: Vec<&mut Connection>, heard: Vec<(IpAddr, Duration)>) {
        // Behind each first hop: the peers that are silent.
        let mut silent: BTreeMap<NextHop, BTreeSet<IpAddr>> = BTreeMap::new();
        for suspect in &suspects {
            let peer = suspect.row.peer.ip();
            if let Ok((_, next)) = self.hop(peer) {
                silent.entry(next).or_default().insert(peer);
            }
        }
        let alive = self.behind_same_hops(&silent, &heard);
        for suspect in suspects {
            let peer = suspect.row.peer.ip();
            suspect.row.facts.path = match self.hop(peer) {
                Err(why) => Known::Not(why),
                Ok((Hop::Loopback, _)) => Known::Is(Path { hop: Hop::Loopback, others: Others::None }),
                Ok((hop, next)) => {
                    let since = suspect.row.facts.silence().map_or(Duration::ZERO, |silence| silence.over);
                    let others = others(peer, since, alive.get(&next), silent.get(&next));
                    Known::Is(Path { hop, others })
                }
            };
        }
    }

    /// The peers heard last behind each hop that silent ones are behind.
    fn behind_same_hops(
        &mut self,
        silent: &BTreeMap<NextHop, BTreeSet<IpAddr>>,
        heard: &[(IpAddr, Duration)],
    ) -> BTreeMap<NextHop, Vec<(IpAddr, Duration)>> {
        let mut alive: BTreeMap<NextHop, Vec<(IpAddr, Duration)>> = BTreeMap::new();
        for &(peer, ago) in heard.iter().take(LOOKED_AT) {
            if let Ok((_, next)) = self.hop(peer)
                && silent.contains_key(&next)
            {
                alive.entry(next).or_default().push((peer, ago));
            }
        }
        alive
    }

    fn hop(&mut self, peer: IpAddr) -> Result<(Hop, NextHop), Why> {
        if peer.is_loopback() {
            return Ok((Hop::Loopback, NextHop::Local));
        }
        if let Some(known) = self.known.get(&peer) {
            return *known;
        }
        let found = ask(&mut self.routes, peer).map_err(|_| Why::Failed);
        self.known.insert(peer, found);
        found
    }
}

/// This namespace's way to one peer, without regard to others.
pub(crate) fn path_to(peer: IpAddr) -> Known<Path> {
    let Ok(routes) = Routes::open() else { return Known::Not(Why::Failed) };
    match (Look { routes, known: BTreeMap::new() }).hop(peer) {
        Ok((hop, _)) => Known::Is(Path { hop, others: Others::None }),
        Err(why) => Known::Not(why),
    }
}

fn ask(routes: &mut Routes, peer: IpAddr) -> Result<(Hop, NextHop), netlink::Error> {
    let next = routes.next_hop(peer)?;
    let hop = match next {
        NextHop::Local => Hop::Loopback,
        NextHop::None => Hop::NoRoute,
        NextHop::Out { interface, .. } if !routes.link_is_up(interface)? => Hop::LinkDown,
        NextHop::Out { interface, gateway } => {
            match (routes.neighbour(interface, gateway.unwrap_or(peer))?, gateway) {
                (Neighbour::Fine, _) => Hop::Up,
                (Neighbour::Failed, Some(_)) => Hop::GatewayFailed,
                (Neighbour::Failed, None) => Hop::PeerUnresolved,
            }
        }
    };
    Ok((hop, next))
}

/// What others behind the same hop say of the time since `peer` fell silent. Another connection of the same
/// peer counts, too: it came the same way.
fn others(
    peer: IpAddr,
    since: Duration,
    alive: Option<&Vec<(IpAddr, Duration)>>,
    silent: Option<&BTreeSet<IpAddr>>,
) -> Others {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let heard = alive.into_iter().flatten().filter(|(_, ago)| *ago < since).count();
    let silent = silent.into_iter().flatten().filter(|other| **other != peer).count();
    match (heard, silent) {
        (0, 0) => Others::None,
        (0, silent) => Others::Silent(count(silent)),
        (heard, _) => Others::Heard(count(heard)),
    }
}
