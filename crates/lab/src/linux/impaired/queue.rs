//! The packets that are under way.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::Side;

/// A packet and where it goes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) due: Instant,
    /// Of packets that are due at the same time the first comes first.
    number: u64,
    pub(super) to: Side,
    /// Whose counter it is when it has arrived; none for an answer of the router.
    pub(super) lane: Option<usize>,
    pub(super) bytes: Box<[u8]>,
}

impl Waiting {
    /// What it costs in memory, roughly.
    fn cost(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

impl Ord for Waiting {
    /// The heap gives the greatest: that is the one due first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

/// Packets in the order in which they are due.
#[derive(Debug)]
pub(super) struct Queue {
    heap: BinaryHeap<Waiting>,
    next: u64,
    cost: usize,
    room: usize,
}

impl Queue {
    pub(super) fn new(room: usize) -> Self {
        Self { heap: BinaryHeap::new(), next: 0, cost: 0, room }
    }

    /// Keeps a packet until it is due; `false` if there is no room.
    pub(super) fn push(&mut self, due: Instant, to: Side, lane: Option<usize>, bytes: &[u8]) -> bool {
        if self.cost + size_of::<Waiting>() + bytes.len() > self.room {
            return false;
        }
        let waiting = Waiting { due, number: self.next, to, lane, bytes: bytes.into() };
        self.next += 1;
        self.cost += waiting.cost();
        self.heap.push(waiting);
        true
    }

    /// The next packet that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Waiting> {
        if self.next_due()? > now {
            return None;
        }
        let waiting = self.heap.pop()?;
        self.cost -= waiting.cost();
        Some(waiting)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|waiting| waiting.due)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}
