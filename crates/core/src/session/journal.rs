//! The last events of all sessions of a loop, at 4 bytes an event.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::history::{History, What};
use crate::instant::Instant;
use crate::stamp::Stamp;

/// A ring of events of many sessions. A [`History`] in each of 100,000 sessions at rest would take more memory than all the
/// rest of them; here they share a fixed number of events, so the busier the loop, the shorter the time that it covers.
///
/// An entry has 5 bits for what happened and 27 for the session. When time has moved on, an entry with the time in
/// milliseconds comes first; it wraps after 37 hours, which is longer than the longest interval between two heartbeats.
#[derive(Clone, Debug)]
pub struct Journal {
    ring: Box<[u32]>,
    next: usize,
    /// The time of the last entry.
    at: Option<Stamp>,
}

const NUMBER_BITS: u32 = 27;
const NUMBER: u32 = (1 << NUMBER_BITS) - 1;
/// The kind of the entries that hold a time.
const TIME: u32 = 31;
/// A place that was never used.
const EMPTY: u32 = u32::MAX;

impl Journal {
    /// Keeps the last `events` events, times included. All of its memory is in use from the start, so that it is not
    /// mistaken for what sessions cost.
    pub fn new(events: usize) -> Self {
        Self { ring: vec![EMPTY; events].into(), next: 0, at: None }
    }

    /// Adds an event of session `index`.
    pub(super) fn record(&mut self, index: usize, what: What, now: Instant) {
        let now = Stamp::of(now);
        if self.at != Some(now) {
            self.at = Some(now);
            self.push((TIME << NUMBER_BITS) | (now.0 & NUMBER));
        }
        self.push((u32::from(what as u8) << NUMBER_BITS) | (index as u32 & NUMBER));
    }

    fn push(&mut self, entry: u32) {
        if let Some(place) = self.ring.get_mut(self.next) {
            *place = entry;
            self.next = (self.next + 1) % self.ring.len();
        }
    }

    /// The last events of each of these sessions that the ring still has, at most [`History::LENGTH`] of each. `sessions`
    /// holds indices in ascending order; the histories come in the same order.
    pub fn histories(&self, sessions: &[usize], now: Instant) -> Vec<History> {
        // One bit a session: nearly all entries belong to others.
        let mut wanted = vec![0_u64; sessions.last().map_or(0, |last| last / 64 + 1)];
        for session in sessions {
            wanted[session / 64] |= 1 << (session % 64);
        }
        // Backwards, so that the first entries met are the last events; an entry's time stands before it.
        let mut found: Vec<Vec<(Stamp, What)>> = sessions.iter().map(|_| Vec::new()).collect();
        let mut events: Vec<usize> = sessions.iter().map(|_| 0).collect();
        let mut complete: Vec<bool> = sessions.iter().map(|_| false).collect();
        let mut missing = sessions.len();
        let mut later = Stamp::of(now);
        // Events met since the last time entry: they happened at the next time entry met.
        let mut undated: Vec<(usize, What)> = Vec::new();
        let (newest, oldest) = self.ring.split_at(self.next);
        for entry in oldest.iter().chain(newest).rev() {
            if *entry == EMPTY {
                break;
            }
            let number = entry & NUMBER;
            if entry >> NUMBER_BITS == TIME {
                let back = (later.0 & NUMBER).wrapping_sub(number) & NUMBER;
                later = Stamp(later.0.wrapping_sub(back));
                for (at, what) in undated.drain(..) {
                    found[at].push((later, what));
                }
                if missing == 0 {
                    break;
                }
                continue;
            }
            let session = number as usize;
            if wanted.get(session / 64).is_none_or(|bits| bits >> (session % 64) & 1 == 0) {
                continue;
            }
            let Ok(at) = sessions.binary_search(&session) else { continue };
            let Some(what) = What::of((entry >> NUMBER_BITS) as u8) else { continue };
            if complete[at] {
                continue;
            }
            undated.push((at, what));
            // An earlier session had the same place.
            events[at] += 1;
            if what == What::Opened || events[at] >= History::LENGTH {
                complete[at] = true;
                missing -= 1;
            }
        }
        let histories = found.into_iter().map(|events| {
            let mut history = History::new();
            for (at, what) in events.into_iter().rev() {
                history.record_at(what, 0, at);
            }
            history
        });
        histories.collect()
    }
}
