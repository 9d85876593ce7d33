//! Other peers that were heard while some were silent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use deadpeer_core::{Known, TcpState};
use deadpeer_os::linux::diag::{Cookie, Family, Routing, States};
use deadpeer_os::linux::route::Flow;

use super::super::census;
use super::super::namespace::Namespace;
use super::Suspect;
use super::look::{Exit, Look};

/// How many witnesses are looked at to count them: each may take a question to the kernel.
const COUNTED: usize = 512;
/// How many are looked at to find one behind each exit.
pub(super) const SOUGHT: usize = 16_384;
/// The kernel's ages are differences of ticks, of up to 10 ms (HZ = 100): so much older something may be.
const TICK: Duration = Duration::from_millis(10);

/// What a witness says that was heard at `moment`: the kernel's ages are rounded, and ours are rounded up.
pub(super) fn heard_then(moment: Instant) -> Option<Instant> {
    moment.checked_sub(TICK * 3)
}

/// The peers of one namespace that were heard since a moment, those heard last first.
#[derive(Debug, Default)]
pub(super) struct Witnesses(Vec<Witness>);

#[derive(Debug)]
struct Witness {
    cookie: Cookie,
    flow: Flow,
    routing: Routing,
    /// When it was heard, at the earliest, and how long ago that was when the kernel told.
    at: Instant,
    ago: Duration,
}

impl Witnesses {
    /// Those heard since `earliest`, read from the kernel now. A list with gaps has fewer of them.
    pub(super) fn of(namespace: &Namespace, earliest: Instant) -> Self {
        let mut all = Vec::new();
        let Ok(mut diag) = census::open(namespace) else { return Self::default() };
        for family in [Family::V4, Family::V6] {
            let now = Instant::now();
            let each = |row: deadpeer_os::linux::diag::Row| {
                let Known::Is(ago) = row.facts.last_heard else { return };
                let Some(at) = now.checked_sub(ago + TICK) else { return };
                if at > earliest && !row.peer.ip().is_loopback() {
                    let (cookie, flow, routing) = (row.cookie, row.flow(), row.routing);
                    all.push(Witness { cookie, flow, routing, at, ago });
                }
            };
            if diag.dump(family, States::only([TcpState::Established]), each).is_err() {
                // The rest of this answer may still be in the socket.
                match census::open(namespace) {
                    Ok(another) => diag = another,
                    Err(_) => break,
                }
            }
        }
        all.sort_by_key(|witness| std::cmp::Reverse(witness.at));
        Self(all)
    }

    /// The peers behind each exit that silent ones are behind, and when each was heard last.
    pub(super) fn behind(
        &self,
        silent: &BTreeMap<Exit, BTreeSet<IpAddr>>,
        look: &mut Look,
    ) -> BTreeMap<Exit, BTreeMap<IpAddr, Instant>> {
        let mut alive: BTreeMap<Exit, BTreeMap<IpAddr, Instant>> = BTreeMap::new();
        for (count, witness) in self.one_of_each_first().into_iter().enumerate() {
            if count >= SOUGHT || (count >= COUNTED && alive.len() == silent.len()) {
                break;
            }
            if let Ok(super::Way::Out { exit, .. }) = look.way(witness.flow, witness.routing)
                && silent.contains_key(&exit)
            {
                let peers = alive.entry(exit).or_default();
                let latest = peers.entry(witness.flow.peer.ip()).or_insert(witness.at);
                *latest = witness.at.max(*latest);
            }
        }
        alive
    }

    /// The last heard of each pair of hosts, then the rest: many connections of one pair mostly go one way.
    fn one_of_each_first(&self) -> Vec<&Witness> {
        let mut pairs = BTreeSet::new();
        let is_first = |witness: &&Witness| {
            let Flow { local, peer, interface, mark, .. } = witness.flow;
            pairs.insert((local.ip(), peer.ip(), interface, mark))
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = self.0.iter().partition(is_first);
        first.extend(rest);
        first
    }

    /// Takes it back that a suspect was heard last before its silence, if it was heard again since.
    pub(super) fn correct(&self, suspect: &mut Suspect<'_>) {
        let row = &mut suspect.connection.row;
        let is_it = |witness: &&Witness| witness.cookie == row.cookie && witness.at > suspect.began;
        if let Some(witness) = self.0.iter().find(is_it) {
            row.facts.last_heard = Known::Is(witness.ago);
        }
    }
}
