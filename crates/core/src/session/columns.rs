//! Many sessions in one loop.

use alloc::vec::Vec;
use core::time::Duration;

use super::history::{History, What};
use super::journal::Journal;
use super::live::{Live, Log};
use super::state::Session;
use super::terms::{Role, Terms};
use crate::instant::Instant;
use crate::roster::Roster;
use crate::stamp::{Stamp, millis_rounded_up};

/// The sessions of a loop as columns: row `n` of each column is session `n`. A row takes 36 bytes.
///
/// The columns that are swept stand alone: a sweep over a million sessions reads 8 bytes of each for silence, 4 for
/// heartbeats that are due.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::session::{Columns, Offer, Role, Terms};
/// use deadpeer_core::Instant;
///
/// let second = Duration::from_secs(1);
/// let terms = Terms::new(Offer::new(second, second, 3 * second));
/// let at = |ms| Instant::from_origin(Duration::from_millis(ms));
/// let mut columns = Columns::new(Duration::from_millis(50), 1_000);
/// let session = columns.open(Role::Acceptor, &terms, at(0));
/// assert!(columns.session(session).unwrap().is_greeting());
///
/// // No HELLO came in time.
/// let mut silent = Vec::new();
/// columns.sweep_silent(at(10_001), |session, time| silent.push((session, time)));
/// assert_eq!(silent, [(session, Duration::from_millis(10_001))]);
/// ```
#[derive(Debug)]
pub struct Columns {
    sessions: Vec<Session>,
    roster: Roster,
    due: Vec<Stamp>,
    journal: Journal,
}

/// A session that owes no heartbeat is looked at again after this time.
const LATER: Duration = Duration::from_secs(3600);
/// The most events that the journal of a loop keeps: 1 MiB.
const MOST_EVENTS: usize = 256 * 1024;

impl Columns {
    /// No sessions. `tick` is the time between two sweeps; memory for `expected` sessions is set aside, and taken as it is
    /// used. The journal keeps [`History::LENGTH`] events for each expected session, at most 262,144.
    pub fn new(tick: Duration, expected: usize) -> Self {
        let mut roster = Roster::with_tick(tick);
        // Columns that grow leave holes in memory.
        roster.reserve(expected);
        let events = expected.saturating_mul(History::LENGTH).clamp(History::LENGTH * 64, MOST_EVENTS);
        Self {
            sessions: Vec::with_capacity(expected),
            roster,
            due: Vec::with_capacity(expected),
            journal: Journal::new(events),
        }
    }

    /// Begins a session, and says which row it has. Its HELLO must come within [`Terms::greeting`].
    pub fn open(&mut self, role: Role, terms: &Terms, now: Instant) -> usize {
        let index = self.roster.insert(terms.greeting, now).index();
        let session = Session::new(role, now);
        let due = Stamp::of(now).after(LATER);
        match self.sessions.get_mut(index) {
            Some(row) => (*row, self.due[index]) = (session, due),
            None => {
                self.sessions.push(session);
                self.due.push(due);
            }
        }
        self.journal.record(index, What::Opened, now);
        index
    }

    /// Begins the session in row `index` anew, over another stream. The peer's HELLO must come within `greeting`.
    pub fn reopen(&mut self, index: usize, greeting: Duration, now: Instant) {
        let Some((heard, patience)) = self.roster.row(index) else { return };
        (*heard, *patience) = (Stamp::of(now), millis_rounded_up(greeting).max(1));
        self.sessions[index] = Session::new(self.sessions[index].role(), now);
        self.due[index] = Stamp::of(now).after(LATER);
        self.journal.record(index, What::Opened, now);
    }

    /// The session in row `index`, to be worked on; its events go to the journal.
    pub fn live(&mut self, index: usize) -> Option<Live<'_>> {
        let (heard, patience) = self.roster.row(index)?;
        let log = Log::Journal(&mut self.journal, index);
        Some(Live { session: &mut self.sessions[index], heard, patience, due: &mut self.due[index], log })
    }

    /// As [`live`](Self::live), for a session that has a history of its own because it carries data.
    pub fn live_with<'a>(&'a mut self, index: usize, history: &'a mut History) -> Option<Live<'a>> {
        let (heard, patience) = self.roster.row(index)?;
        let log = Log::History(history);
        Some(Live { session: &mut self.sessions[index], heard, patience, due: &mut self.due[index], log })
    }

    /// The state of the session in row `index`. It stays readable after [`sweep_silent`](Self::sweep_silent) gave it out,
    /// until the row is used again.
    pub fn session(&self, index: usize) -> Option<&Session> {
        self.sessions.get(index)
    }

    /// For how long nothing arrived from the peer, to the millisecond.
    pub fn silence(&self, index: usize, now: Instant) -> Duration {
        self.roster.slot(index).and_then(|slot| self.roster.silent(slot, now)).unwrap_or_default()
    }

    /// Gives the row free, which another session may have next.
    pub fn close(&mut self, index: usize) {
        if let Some(slot) = self.roster.slot(index) {
            self.roster.remove(slot);
        }
    }

    /// Tells the sessions whose heartbeat is due: [`Live::beat`] or [`Live::blocked`], and [`Live::wrote`]. They owe
    /// nothing until then.
    pub fn sweep_due(&mut self, now: Instant, mut due: impl FnMut(usize)) {
        let stamp = Stamp::of(now);
        let later = stamp.after(LATER);
        for (index, at) in self.due.iter_mut().enumerate() {
            if at.age(stamp) >= 0 {
                *at = later;
                due(index);
            }
        }
    }

    /// Tells the sessions whose peer has been silent for longer than its patience, and for how long. Their rows are free
    /// when this returns.
    pub fn sweep_silent(&mut self, now: Instant, mut lost: impl FnMut(usize, Duration)) {
        self.roster.sweep(now, |slot, silent| lost(slot.index(), silent));
    }

    /// This process did not run for `paused`, until now: nothing is held against any peer.
    pub fn handle_pause(&mut self, paused: Duration, now: Instant) {
        self.roster.handle_pause(now, paused);
    }

    /// The last events of sessions without a history of their own; `sessions` holds their rows in ascending order. Ask
    /// before another session takes the row.
    pub fn histories(&self, sessions: &[usize], now: Instant) -> Vec<History> {
        self.journal.histories(sessions, now)
    }

    /// The number of sessions.
    pub const fn len(&self) -> usize {
        self.roster.len()
    }

    /// Whether there are no sessions.
    pub const fn is_empty(&self) -> bool {
        self.roster.is_empty()
    }

    /// The number of rows, free ones included.
    pub const fn rows(&self) -> usize {
        self.sessions.len()
    }
}
