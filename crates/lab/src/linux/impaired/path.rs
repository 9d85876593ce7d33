//! One direction of a link: its impairments, its random numbers and its counters.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::{Add, AddAssign};
use std::time::{Duration, Instant};

use deadpeer_core::Random;

use super::impairment::{Impairment, Rejection};

/// What became of the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Packets that arrived, copies included.
    pub passed: u64,
    /// Packets that were lost by chance ([`Impairment::lose`]).
    pub lost: u64,
    /// Packets that were dropped by [`Impairment::drop_all`], because a rejection could not be answered, or because
    /// the device that they should have arrived on was down.
    pub dropped: u64,
    /// Packets that were too long ([`Impairment::drop_longer_than`]).
    pub too_long: u64,
    /// Packets whose sender was told of a rejection ([`Impairment::reject`]).
    pub rejected: u64,
    /// Copies that were made ([`Impairment::duplicate`]).
    pub duplicated: u64,
    /// Packets that were held back ([`Impairment::reorder`]).
    pub reordered: u64,
    /// Packets that were dropped because too many were under way ([`ImpairedLink::ROOM`](crate::ImpairedLink::ROOM)).
    pub overflowed: u64,
}

impl Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            lost: self.lost + other.lost,
            dropped: self.dropped + other.dropped,
            too_long: self.too_long + other.too_long,
            rejected: self.rejected + other.rejected,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
            overflowed: self.overflowed + other.overflowed,
        }
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Drop,
    /// Its sender is told, at this time.
    Reject(Rejection, Instant),
    /// It arrives, at this time, once or twice.
    Pass {
        due: Instant,
        twice: bool,
    },
}

/// One direction.
#[derive(Debug)]
pub(super) struct Path {
    general: Impairment,
    /// One for each address of the right host, and the last for packets of any other.
    lanes: Vec<Lane>,
    numbers: HashMap<IpAddr, usize>,
}

/// The packets of one direction to or from one address of the right host.
#[derive(Debug)]
struct Lane {
    /// Goes before the general one.
    own: Option<Impairment>,
    /// Of its own, so that its decisions don't depend on the packets of other lanes.
    random: Random,
    /// When the last of its packets that keeps the order is due.
    last: Option<Instant>,
    counters: Counters,
}

impl Path {
    pub(super) fn new(seed: u64, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let numbers: HashMap<_, _> = addresses.into_iter().zip(0..).collect();
        let mut seeds = Random::new(seed);
        let lane = |_| Lane {
            own: None,
            random: Random::new(seeds.next_u64()),
            last: None,
            counters: Counters::default(),
        };
        Self { general: Impairment::new(), lanes: (0..=numbers.len()).map(lane).collect(), numbers }
    }

    /// The number of the lane for an address of the right host.
    pub(super) fn lane(&self, peer: IpAddr) -> usize {
        self.numbers.get(&peer).copied().unwrap_or(self.numbers.len())
    }

    pub(super) fn knows(&self, peer: IpAddr) -> bool {
        self.numbers.contains_key(&peer)
    }

    pub(super) fn set(&mut self, impairment: Impairment) {
        self.general = impairment;
        for lane in self.lanes.iter_mut().filter(|lane| lane.own.is_none()) {
            lane.last = None;
        }
    }

    pub(super) fn set_lane(&mut self, lane: usize, impairment: Option<Impairment>) {
        let lane = &mut self.lanes[lane];
        lane.own = impairment;
        lane.last = None;
    }

    pub(super) fn heal(&mut self) {
        self.general = Impairment::new();
        for lane in &mut self.lanes {
            (lane.own, lane.last) = (None, None);
        }
    }

    pub(super) fn counters(&mut self, lane: usize) -> &mut Counters {
        &mut self.lanes[lane].counters
    }

    pub(super) fn sum(&self) -> Counters {
        self.lanes.iter().fold(Counters::default(), |sum, lane| sum + lane.counters)
    }

    /// Decides on the next packet of a lane, `length` bytes long, and counts it where it does not pass.
    pub(super) fn decide(&mut self, lane: usize, length: usize, now: Instant) -> Decision {
        let lane = &mut self.lanes[lane];
        let impairment = lane.own.unwrap_or(self.general);
        // As many numbers for each packet whatever is set, so that the nth packet meets the same numbers.
        let [lost, duplicated, reordered] = [(); 3].map(|()| lane.random.next_u64());
        let jitter = lane.random.between(Duration::ZERO, impairment.jitter);
        let counters = &mut lane.counters;
        if let Some(rejection) = impairment.rejected {
            return Decision::Reject(rejection, now + impairment.delay);
        }
        if impairment.dropped {
            counters.dropped += 1;
            return Decision::Drop;
        }
        if impairment.longest.is_some_and(|longest| length > longest) {
            counters.too_long += 1;
            return Decision::Drop;
        }
        if impairment.lost.decides(lost) {
            counters.lost += 1;
            return Decision::Drop;
        }
        let twice = impairment.duplicated.decides(duplicated);
        counters.duplicated += u64::from(twice);
        let due = now + impairment.delay + jitter;
        let due = lane.last.map_or(due, |last| last.max(due));
        if impairment.reordered.decides(reordered) {
            counters.reordered += 1;
            return Decision::Pass { due: due + impairment.held_back, twice };
        }
        lane.last = Some(due);
        Decision::Pass { due, twice }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::impairment::Chance;
    use super::*;

    const PEERS: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))];

    /// The decisions on a hundred packets of the first lane, after a hundred that met `before`.
    fn decisions(before: Impairment, others: usize, now: Instant) -> Vec<Decision> {
        let mut path = Path::new(7, PEERS);
        path.set(before);
        for _ in 0..100 {
            path.decide(0, 100, now);
        }
        for _ in 0..others {
            path.decide(1, 100, now);
        }
        let bad = Impairment::new().lose(Chance::percent(50)).jitter(Duration::from_secs(1));
        path.set(bad.duplicate(Chance::percent(50)).reorder(Chance::percent(50), Duration::from_secs(2)));
        (0..100).map(|_| path.decide(0, 100, now)).collect()
    }

    #[test]
    fn a_decision_depends_on_the_number_of_the_packet_alone() {
        let now = Instant::now();
        let expected = decisions(Impairment::new(), 0, now);
        let lost = expected.iter().filter(|decision| **decision == Decision::Drop).count();
        assert!((25..=75).contains(&lost), "{lost}");
        assert_eq!(decisions(Impairment::new(), 33, now), expected, "whatever other peers get");
        for before in [
            Impairment::new().drop_all(),
            Impairment::new().reject(Rejection::Reset),
            Impairment::new().drop_longer_than(10),
            Impairment::new().delay(Duration::from_secs(9)).jitter(Duration::from_secs(9)),
        ] {
            assert_eq!(decisions(before, 0, now), expected, "after {before:?}");
        }
    }
}
