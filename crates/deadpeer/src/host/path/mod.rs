//! Our own way to peers that are silent: the connection's own route, its carrier, its first hop, and what other
//! peers behind the same first hop say.

mod first_hops;
mod look;
mod recall;
mod seen;
mod witnesses;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use deadpeer_core::{Facts, Hop, Known, Others, Path, TcpState, Why};
use deadpeer_os::linux::diag::Row;

use super::connection::Connection;
use super::namespace::Namespace;
use first_hops::FirstHop;
use look::{Exit, Look, Way};
pub(super) use seen::Seen;
use witnesses::{Witnesses, heard_then};

/// Fills in the path of every connection whose peer is silent. With `ask` the first hops are asked, and living
/// peers again where their word decides, until it becomes true; without it nothing is sent.
pub(super) fn fill(connections: &mut [Connection], seen: &Seen, ask: Option<&AtomicBool>) {
    let mut places = Place::with_silent(connections, seen);
    if let Some(cancel) = ask {
        first_hops::ask(&mut places, cancel);
        recall::ask(&mut places, cancel);
    }
    for place in places {
        place.finish();
    }
}

/// This namespace's way for one connection. Nothing is sent, and nobody else is looked at.
pub(crate) fn path_of(row: &Row) -> Known<Path> {
    let way = Look::here().map_err(|_| Why::Failed).and_then(|mut look| look.way(row.flow(), row.routing));
    match way {
        Ok(way) => Known::Is(Path { hop: way.hop(FirstHop::NotAsked), others: Others::None }),
        Err(why) => Known::Not(why),
    }
}

/// Whether the peer of a connection is its own host.
pub(super) fn is_this_host(connection: &Connection) -> bool {
    let row = &connection.row;
    row.peer.ip().is_loopback()
        || row.peer.ip() == row.local.ip()
        || connection
            .namespace
            .run(Look::here)
            .is_ok_and(|mut look| look.is_own(row.peer.ip(), row.interface))
}

/// Whether the judgement of a connection rests on its path.
fn is_silent(facts: &Facts) -> bool {
    use TcpState::{CloseWait, Closing, Established, FinWait1, FinWait2, LastAck};
    let can_be = match facts.state {
        Established | FinWait2 | CloseWait => true,
        // Without a descriptor its state says all.
        FinWait1 | Closing | LastAck => facts.has_descriptor,
        _ => false,
    };
    can_be && facts.silence().is_some()
}

/// A network namespace with silent connections.
struct Place<'c> {
    namespace: Arc<Namespace>,
    look: Look,
    suspects: Vec<Suspect<'c>>,
    /// Connections of the same run whose peers are not silent.
    living: Vec<&'c Connection>,
    /// When living peers were asked again, behind which exits.
    recalled: BTreeMap<Exit, Instant>,
    /// What came of asking first hops, each an address on an interface.
    first_hops: BTreeMap<(u32, IpAddr), FirstHop>,
}

/// A connection whose peer is silent.
struct Suspect<'c> {
    connection: &'c mut Connection,
    /// When its silence had begun, at the latest.
    began: Instant,
    way: Result<Way, Why>,
}

impl Suspect<'_> {
    fn peer(&self) -> IpAddr {
        self.connection.row.peer.ip()
    }

    fn exit(&self) -> Option<Exit> {
        match self.way {
            Ok(Way::Out { exit, .. }) => Some(exit),
            _ => None,
        }
    }
}

impl<'c> Place<'c> {
    /// The namespaces of all silent connections, and the ways of these.
    fn with_silent(connections: &'c mut [Connection], seen: &Seen) -> Vec<Self> {
        let mut places: BTreeMap<u64, Option<Self>> = BTreeMap::new();
        let mut living = Vec::new();
        for connection in connections {
            let Some(began) = seen.silent_since(connection) else {
                living.push(&*connection);
                continue;
            };
            let namespace = &connection.namespace;
            // Without an answer the path stays unknown, and nobody is called dead over it.
            let place = places.entry(namespace.inode()).or_insert_with(|| Self::open(namespace));
            let Some(place) = place else {
                connection.row.facts.path = Known::Not(Why::Failed);
                continue;
            };
            let way = place.look.way(connection.row.flow(), connection.row.routing);
            place.suspects.push(Suspect { connection, began, way });
        }
        for connection in living {
            if let Some(Some(place)) = places.get_mut(&connection.namespace.inode()) {
                place.living.push(connection);
            }
        }
        places.into_values().flatten().collect()
    }

    fn open(namespace: &Arc<Namespace>) -> Option<Self> {
        let look = namespace.run(Look::here).ok()?;
        let namespace = Arc::clone(namespace);
        let (suspects, living, recalled, first_hops) = Default::default();
        Some(Self { namespace, look, suspects, living, recalled, first_hops })
    }

    /// The silent peers behind each exit.
    fn silent(&self) -> BTreeMap<Exit, BTreeSet<IpAddr>> {
        let mut silent: BTreeMap<Exit, BTreeSet<IpAddr>> = BTreeMap::new();
        for suspect in &self.suspects {
            if let Some(exit) = suspect.exit() {
                silent.entry(exit).or_default().insert(suspect.peer());
            }
        }
        silent
    }

    /// The hop that the way of a suspect begins with.
    fn hop(&self, way: &Way, peer: IpAddr) -> Hop {
        let asked = way.first_hop(peer).and_then(|first_hop| self.first_hops.get(&first_hop));
        way.hop(asked.copied().unwrap_or(FirstHop::NotAsked))
    }

    /// Reads the witnesses, now that all questions are over, and writes down the paths.
    fn finish(mut self) {
        let silent = self.silent();
        let earliest = self.suspects.iter().filter(|suspect| suspect.exit().is_some()).map(|s| s.began).min();
        let witnesses = match earliest {
            Some(earliest) => Witnesses::of(&self.namespace, earliest),
            None => Witnesses::default(),
        };
        let alive = witnesses.behind(&silent, &mut self.look);
        for mut suspect in std::mem::take(&mut self.suspects) {
            let path = match suspect.way {
                Err(why) => Known::Not(why),
                Ok(way) => {
                    let hop = self.hop(&way, suspect.peer());
                    let exit = suspect.exit();
                    let heard = exit.and_then(|exit| alive.get(&exit));
                    let silent = exit.and_then(|exit| silent.get(&exit));
                    let recalled = exit.and_then(|exit| self.recalled.get(&exit)).copied();
                    let since =
                        recalled.and_then(heard_then).map_or(suspect.began, |at| at.max(suspect.began));
                    Known::Is(Path { hop, others: others(suspect.peer(), since, heard, silent) })
                }
            };
            witnesses.correct(&mut suspect);
            suspect.connection.row.facts.path = path;
        }
    }
}

/// What others behind the same hop say of the time since `since`. Another connection of the same peer counts,
/// too: it came the same way.
fn others(
    peer: IpAddr,
    since: Instant,
    heard: Option<&BTreeMap<IpAddr, Instant>>,
    silent: Option<&BTreeSet<IpAddr>>,
) -> Others {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let heard = heard.into_iter().flatten().filter(|(_, at)| **at > since).count();
    let silent = silent.into_iter().flatten().filter(|other| **other != peer).count();
    match (heard, silent) {
        (0, 0) => Others::None,
        (0, silent) => Others::Silent(count(silent)),
        (heard, _) => Others::Heard(count(heard)),
    }
}

impl Way {
    /// The hop that this way begins with, when that was the end of asking it.
    fn hop(&self, first_hop: FirstHop) -> Hop {
        let (exit, link) = match *self {
            Self::Decided(hop) => return hop,
            Self::Out { exit, link } => (exit, link),
        };
        match first_hop {
            _ if !link.has_neighbours => Hop::Up,
            FirstHop::Answered => Hop::Up,
            FirstHop::NotAsked => Hop::Unasked,
            FirstHop::LinkDown => Hop::LinkDown,
            FirstHop::Silent if exit.gateway.is_some() => Hop::GatewaySilent,
            FirstHop::Silent => Hop::PeerUnresolved,
        }
    }
}
