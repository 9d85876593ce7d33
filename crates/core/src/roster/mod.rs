//! Many peers, watched at once.
//!
//! A timer for each of a million connections would have to be moved at every sign of life. Here a sign of
//! life stores one number, and a sweep over the array finds those that were silent for too long: the sweep
//! reads eight bytes an entry in order, which the processor does at the speed of memory.
//!
//! What holds, numbered for the tests:
//!
//! 1. Never early: an entry comes out no sooner than its tolerance after it was last seen.
//! 2. Never late: it comes out of the first [`sweep`](Roster::sweep) that is at least a millisecond past that
//!    moment, so within one [`tick`](Roster::tick) (and that millisecond) when swept once a tick.
//! 3. It comes out once, and is gone then.
//! 4. A [`Slot`] never means another entry than the one it was given for.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::time::Duration;

use crate::instant::Instant;
use crate::stamp::{Stamp, millis_rounded_up as rounded_up};

/// An array of time stamps that is swept. See the [module's](self) rules.
///
/// An entry takes 12 bytes. Time is kept in milliseconds that wrap after 49.7 days: sweep at least once in
/// 24 days.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::{Instant, Roster};
///
/// let at = |ms| Instant::from_origin(Duration::from_millis(ms));
/// let mut roster = Roster::new();
/// let alice = roster.insert(Duration::from_secs(10), at(0));
/// let bob = roster.insert(Duration::from_secs(10), at(0));
/// roster.seen(alice, at(9_000));
///
/// let mut lost = Vec::new();
/// roster.sweep(at(10_001), |slot, silent| lost.push((slot, silent)));
/// assert_eq!(lost, [(bob, Duration::from_millis(10_001))]);
/// assert!(!roster.seen(bob, at(10_002)), "it is gone");
/// ```
#[derive(Clone, Debug)]
pub struct Roster {
    tick: Duration,
    /// When each was last seen, in wrapping milliseconds. Of a free entry: the next free one.
    seen: Vec<Stamp>,
    /// For how long each may be silent, milliseconds; 0 of a free entry.
    tolerance: Vec<u32>,
    /// How often each entry was given away.
    generation: Vec<u32>,
    free: u32,
    live: usize,
}

/// An entry of a [`Roster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// Its place in the array: small numbers, used again after the entry is gone. Good as an index into the
    /// caller's own array.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

const NONE: u32 = u32::MAX;

impl Roster {
    /// How often to sweep unless another tick was chosen.
    pub const TICK: Duration = Duration::from_millis(50);
    /// The longest tolerance: half of what 32 bits of milliseconds count, less a day for late sweeps.
    pub const LONGEST: Duration = Duration::from_secs(23 * 24 * 3600);

    /// An empty one, to be swept every [`Roster::TICK`].
    pub const fn new() -> Self {
        Self::with_tick(Self::TICK)
    }

    /// An empty one, to be swept every `tick`: the later it may be with a death, the less it costs.
    pub const fn with_tick(tick: Duration) -> Self {
        Self { tick, seen: Vec::new(), tolerance: Vec::new(), generation: Vec::new(), free: NONE, live: 0 }
    }

    /// Makes room for so many more at once: arrays that grow bit by bit leave holes in memory.
    pub fn reserve(&mut self, more: usize) {
        self.seen.reserve_exact(more);
        self.tolerance.reserve_exact(more);
        self.generation.reserve_exact(more);
    }

    /// How often to sweep.
    pub const fn tick(&self) -> Duration {
        self.tick
    }

    /// How many are watched.
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether nobody is watched.
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Watches one more, seen now. The tolerance is rounded up to milliseconds and cut at
    /// [`Roster::LONGEST`].
    pub fn insert(&mut self, tolerance: Duration, now: Instant) -> Slot {
        let tolerance = rounded_up(tolerance.clamp(Duration::from_millis(1), Self::LONGEST));
        let index = if self.free == NONE {
            self.seen.push(Stamp(0));
            self.tolerance.push(0);
            self.generation.push(0);
            self.seen.len() - 1
        } else {
            let index = self.free as usize;
            self.free = self.seen[index].0;
            index
        };
        self.seen[index] = Stamp::of(now);
        self.tolerance[index] = tolerance;
        self.live += 1;
        Slot { index: index as u32, generation: self.generation[index] }
    }

    /// The entry that has this place in the array now: for callers whose own array has the same places.
    pub fn slot(&self, index: usize) -> Option<Slot> {
        let generation = *self.generation.get(index)?;
        (self.tolerance[index] != 0).then_some(Slot { index: index as u32, generation })
    }

    /// It gave a sign of life. Says whether it is still watched.
    #[inline]
    pub fn seen(&mut self, slot: Slot, now: Instant) -> bool {
        let index = slot.index();
        // An entry that is gone has another generation: nothing else needs to be looked at.
        let watched = self.generation.get(index) == Some(&slot.generation);
        if watched && let Some(seen) = self.seen.get_mut(index) {
            *seen = Stamp::of(now);
        }
        watched
    }

    /// Gives it another tolerance. Says whether it is still watched.
    pub fn tolerate(&mut self, slot: Slot, tolerance: Duration) -> bool {
        let watched = self.is_watched(slot);
        if watched {
            self.tolerance[slot.index()] =
                rounded_up(tolerance.clamp(Duration::from_millis(1), Self::LONGEST));
        }
        watched
    }

    /// For how long it was silent, to the millisecond; `None` when it is not watched any more.
    pub fn silent(&self, slot: Slot, now: Instant) -> Option<Duration> {
        self.is_watched(slot).then(|| self.seen[slot.index()].since(now))
    }

    /// Stops watching. Says whether it was watched.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let watched = self.is_watched(slot);
        if watched {
            self.release(slot.index());
        }
        watched
    }

    /// Gives out everybody who was silent for longer than tolerated, with the time, and stops watching them.
    pub fn sweep(&mut self, now: Instant, mut lost: impl FnMut(Slot, Duration)) {
        /// So many are compared at once, without a branch.
        const RUN: usize = 64;
        let stamp = Stamp::of(now);
        let mut start = 0;
        while start < self.seen.len() {
            let end = (start + RUN).min(self.seen.len());
            let pairs = self.seen[start..end].iter().zip(&self.tolerance[start..end]);
            let any = pairs.fold(false, |any, (seen, tolerance)| any | is_over(stamp, *seen, *tolerance));
            if any {
                for index in start..end {
                    if is_over(stamp, self.seen[index], self.tolerance[index]) {
                        let slot = Slot { index: index as u32, generation: self.generation[index] };
                        let silent = self.seen[index].since(now);
                        self.release(index);
                        lost(slot, silent);
                    }
                }
            }
            start = end;
        }
    }

    /// This process did not run for `paused`, until now (it slept, or was stopped): nobody could be seen, so
    /// nothing is held against anybody.
    pub fn handle_pause(&mut self, now: Instant, paused: Duration) {
        let (stamp, paused) = (Stamp::of(now), rounded_up(paused));
        for (seen, tolerance) in self.seen.iter_mut().zip(&self.tolerance) {
            if *tolerance != 0 {
                let silent = seen.age(stamp).max(0).cast_unsigned();
                *seen = Stamp(stamp.0.wrapping_sub(silent.saturating_sub(paused)));
            }
        }
    }

    /// The row of the entry that has this place now: when it was last seen, and its tolerance in milliseconds.
    pub(crate) fn row(&mut self, index: usize) -> Option<(&mut Stamp, &mut u32)> {
        let tolerance = self.tolerance.get_mut(index).filter(|tolerance| **tolerance != 0)?;
        Some((&mut self.seen[index], tolerance))
    }

    fn is_watched(&self, slot: Slot) -> bool {
        self.generation.get(slot.index()) == Some(&slot.generation)
    }

    fn release(&mut self, index: usize) {
        self.generation[index] = self.generation[index].wrapping_add(1);
        self.tolerance[index] = 0;
        self.seen[index] = Stamp(self.free);
        self.free = index as u32;
        self.live -= 1;
    }
}

impl Default for Roster {
    fn default() -> Self {
        Self::new()
    }
}

/// Free entries have no tolerance, and are never over. One that was seen by a clock a little ahead of ours is not
/// silent.
#[inline]
const fn is_over(now: Stamp, seen: Stamp, tolerance: u32) -> bool {
    // Whole milliseconds were cut off at both ends: one more makes up for the first.
    (tolerance != 0) & (seen.age(now) > tolerance.cast_signed())
}
