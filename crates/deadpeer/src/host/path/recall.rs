//! Asking living peers once more, where their word decides on others.
//!
//! A peer that lives answers the first question, at the very moment at which silent ones are first asked: that
//! proves nothing of the seconds in which these stayed silent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_core::{Hop, Known, TcpState};
use deadpeer_os::linux::ask;
use deadpeer_os::linux::diag::Diag;

use super::super::census;
use super::super::connection::Connection;
use super::Place;
use super::look::{Exit, Way};
use super::witnesses::SOUGHT;

/// How many peers are asked behind each exit: one may be dead by now, and one answer may get lost.
const ASKED: usize = 4;
const TRIES: u8 = 3;
/// Between two tries: a living peer leaves closer ones unanswered (`tcp_invalid_ratelimit`).
const GAP: Duration = Duration::from_secs(1);
/// How long answers to the last try are waited for at most, on paths with long round trips.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);
const SHORTEST_NAP: Duration = Duration::from_micros(500);
const LONGEST_NAP: Duration = Duration::from_millis(20);

/// A peer that was asked.
struct Recalled<'c> {
    place: usize,
    exit: Exit,
    connection: &'c Connection,
    /// Segments that had come before.
    segments: u32,
}

/// Asks some living peers behind each exit on which a witness decides, once a second and three times at the most,
/// until one behind each answers. What they say is read later, with everything else that was heard; what was
/// heard before counts no more behind these exits.
pub(super) fn ask<'c>(places: &mut [Place<'c>], cancel: &AtomicBool) {
    let mut recalled: Vec<Recalled<'c>> = Vec::new();
    for (number, place) in places.iter_mut().enumerate() {
        for (exit, connection) in place.chosen() {
            let asked_at = Instant::now();
            if let Some(segments) = question(connection) {
                place.recalled.entry(exit).or_insert(asked_at);
                recalled.push(Recalled { place: number, exit, connection, segments });
            }
        }
    }
    let longest = recalled.iter().filter_map(|one| one.connection.row.facts.rtt).max().unwrap_or_default();
    let patience = GAP.max(longest.saturating_mul(3)).min(LONGEST_PATIENCE);
    let mut diags = BTreeMap::new();
    for tries_left in (0..TRIES).rev() {
        let wait = if tries_left == 0 { patience } else { GAP };
        await_answers(&mut recalled, places, &mut diags, Instant::now() + wait, cancel);
        if tries_left > 0 {
            recalled.retain(|one| question(one.connection).is_some());
        }
    }
}

/// Waits until one peer behind each exit has answered, and takes these exits' peers out of `recalled`.
fn await_answers(
    recalled: &mut Vec<Recalled<'_>>,
    places: &[Place<'_>],
    diags: &mut BTreeMap<usize, Option<Diag>>,
    deadline: Instant,
    cancel: &AtomicBool,
) {
    let mut nap = SHORTEST_NAP;
    while !recalled.is_empty() && Instant::now() < deadline && !cancel.load(Ordering::Relaxed) {
        thread::sleep(nap);
        nap = (nap * 2).min(LONGEST_NAP);
        let heard: BTreeSet<_> = recalled
            .iter()
            .filter(|one| {
                let open = || census::open(&places[one.place].namespace).ok();
                let diag = diags.entry(one.place).or_insert_with(open);
                diag.as_mut().is_some_and(|diag| one.was_heard(diag))
            })
            .map(|one| (one.place, one.exit))
            .collect();
        recalled.retain(|one| !heard.contains(&(one.place, one.exit)));
    }
}

impl Recalled<'_> {
    fn was_heard(&self, diag: &mut Diag) -> bool {
        let seen = diag.again(&self.connection.row).ok().flatten();
        let segments = seen.and_then(|row| row.facts.segments_in.value());
        segments.is_some_and(|segments| segments != self.segments)
    }
}

/// Asks the peer of a connection, with CAP_NET_ADMIN only: then nothing of the socket changes.
fn question(connection: &Connection) -> Option<u32> {
    let Known::Is(owner) = &connection.owner else { return None };
    let process = owner.open().ok()?;
    process.with(owner.fd, connection.row.cookie, ask::window_probe).ok()?.ok()
}

impl<'c> Place<'c> {
    /// Living peers behind those exits on which a witness decides, a few each.
    fn chosen(&mut self) -> Vec<(Exit, &'c Connection)> {
        let undecided = self.undecided();
        if undecided.is_empty() {
            return Vec::new();
        }
        let mut living: Vec<_> = self.living.iter().copied().filter(can_be_asked).collect();
        living.sort_by_key(|one| one.row.facts.last_heard.value());
        let mut chosen: BTreeMap<Exit, BTreeMap<IpAddr, &'c Connection>> = BTreeMap::new();
        for connection in living.into_iter().take(SOUGHT) {
            let Ok(Way::Out { exit, .. }) = self.look.way(connection.row.flow(), connection.row.routing)
            else {
                continue;
            };
            if undecided.contains(&exit) {
                let peers = chosen.entry(exit).or_default();
                if peers.len() < ASKED {
                    peers.entry(connection.row.peer.ip()).or_insert(connection);
                }
            }
        }
        let each = |(exit, peers): (Exit, BTreeMap<_, _>)| peers.into_values().map(move |peer| (exit, peer));
        chosen.into_iter().flat_map(each).collect()
    }

    /// The exits with a suspect whose path only a witness proves.
    fn undecided(&self) -> BTreeSet<Exit> {
        let silent = self.silent();
        let depends = |(exit, hop)| match hop {
            Hop::Unasked | Hop::PeerUnresolved => true,
            Hop::Up => silent.get(&exit).is_some_and(|peers| peers.len() > 1),
            _ => false,
        };
        self.suspects
            .iter()
            .filter_map(|suspect| match suspect.way {
                Ok(way @ Way::Out { exit, .. }) => Some((exit, self.hop(&way, suspect.peer()))),
                _ => None,
            })
            .filter(|known| depends(*known))
            .map(|(exit, _)| exit)
            .collect()
    }
}

fn can_be_asked(connection: &&Connection) -> bool {
    let row = &connection.row;
    row.facts.state == TcpState::Established
        && row.facts.last_heard.value().is_some()
        && !row.peer.ip().is_loopback()
}
