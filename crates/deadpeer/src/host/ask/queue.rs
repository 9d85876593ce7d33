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

/// Events by time. Questions for which it is time wait in two lines that take turns, peers that were asked before and
/// peers that were not: many silent peers do not keep living ones waiting, and the other way round.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: BinaryHeap<Reverse<(Instant, Event, usize)>>,
    begun: VecDeque<(usize, Instant)>,
    fresh: VecDeque<(usize, Instant)>,
    begun_next: bool,
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
        let (first, second) = match self.begun_next {
            true => (&self.begun, &self.fresh),
            false => (&self.fresh, &self.begun),
        };
        first.front().or(second.front()).copied()
    }

    pub(super) fn pop_waiting(&mut self) {
        let (first, second) = match self.begun_next {
            true => (&mut self.begun, &mut self.fresh),
            false => (&mut self.fresh, &mut self.begun),
        };
        let _ = first.pop_front().or_else(|| second.pop_front());
        self.begun_next = !self.begun_next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_asked_before_and_those_not_take_turns() {
        let mut queue = Queue::default();
        let now = Instant::now();
        for index in 0..3 {
            queue.wait_for_a_place(index, now, true);
        }
        for index in 10..12 {
            queue.wait_for_a_place(index, now, false);
        }
        let order = std::iter::from_fn(|| {
            let next = queue.waiting()?.0;
            queue.pop_waiting();
            Some(next)
        });
        assert_eq!(order.collect::<Vec<_>>(), [10, 0, 11, 1, 2]);
    }
}
