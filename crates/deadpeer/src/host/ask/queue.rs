//! What is due when, and which questions wait for a place in the pace.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// Borrowed keepalive is given back: before anything else that is due.
    GiveBack,
    Look {
        wait: Duration,
    },
    Question,
}

/// Events by time. Questions for which it is time wait in two lines: a peer that is being asked goes before one
/// that is not, so that what has begun ends.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: BinaryHeap<Reverse<(Instant, Event, usize)>>,
    begun: VecDeque<(usize, Instant)>,
    fresh: VecDeque<(usize, Instant)>,
}

impl Queue {
    pub(super) fn push(&mut self, at: Instant, event: Event, index: usize) {
        self.due.push(Reverse((at, event, index)));
    }

    /// The next event, if it is due by `now`, and when it was.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<(Event, usize, Instant)> {
        let &Reverse((at, event, index)) = self.due.peek()?;
        (at <= now).then(|| {
            self.due.pop();
            (event, index, at)
        })
    }

    /// When the next event is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn wait_for_a_place(&mut self, index: usize, since: Instant, begun: bool) {
        let line = if begun { &mut self.begun } else { &mut self.fresh };
        line.push_back((index, since));
    }

    /// The question whose turn is next, and since when it has waited.
    pub(super) fn waiting(&self) -> Option<(usize, Instant)> {
        self.begun.front().or(self.fresh.front()).copied()
    }

    pub(super) fn pop_waiting(&mut self) {
        let _ = self.begun.pop_front().or_else(|| self.fresh.pop_front());
    }
}
