//! What a path does to packets.

use std::time::Duration;

/// What the path does to each packet of one direction: a plain value. [`new`](Self::new) is a perfect path, and
/// each method adds one impairment to it.
///
/// ```
/// use deadpeer_lab::{Chance, Impairment};
/// use std::time::Duration;
///
/// let satellite = Impairment::new()
///     .delay(Duration::from_millis(600))
///     .jitter(Duration::from_millis(40))
///     .lose(Chance::percent(2));
/// let black_hole = Impairment::new().drop_longer_than(1400);
/// assert_eq!(Impairment::default(), Impairment::new());
/// # let _ = (satellite, black_hole);
/// ```
///
/// The link applies them in this order: [`reject`](Self::reject), [`drop_all`](Self::drop_all),
/// [`drop_longer_than`](Self::drop_longer_than), [`lose`](Self::lose), [`duplicate`](Self::duplicate), and then the
/// times: [`delay`](Self::delay), [`jitter`](Self::jitter), [`reorder`](Self::reorder).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "give it to `ImpairedLink::set`"]
pub struct Impairment {
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    pub(super) lost: Chance,
    pub(super) duplicated: Chance,
    pub(super) reordered: Chance,
    pub(super) held_back: Duration,
    pub(super) longest: Option<usize>,
    pub(super) dropped: bool,
    pub(super) rejected: Option<Rejection>,
}

impl Impairment {
    /// The longest delay, jitter and time to hold a packet back; longer ones are taken as this one.
    pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

    /// A perfect path: every packet passes at once.
    pub const fn new() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            lost: Chance::NEVER,
            duplicated: Chance::NEVER,
            reordered: Chance::NEVER,
            held_back: Duration::ZERO,
            longest: None,
            dropped: false,
            rejected: None,
        }
    }

    /// Each packet takes this long, at most [`LONGEST`](Self::LONGEST). The packets stay in order.
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = bounded(delay);
        self
    }

    /// Each packet takes up to this much longer, every time being equally likely. The packets stay in order: a packet
    /// that would overtake the one before arrives directly after it.
    pub const fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = bounded(jitter);
        self
    }

    /// Each packet is lost with this probability, independently of the others.
    pub const fn lose(mut self, chance: Chance) -> Self {
        self.lost = chance;
        self
    }

    /// Each packet arrives twice with this probability.
    pub const fn duplicate(mut self, chance: Chance) -> Self {
        self.duplicated = chance;
        self
    }

    /// Each packet is held back for `by` with this probability, so that the packets behind it overtake it.
    pub const fn reorder(mut self, chance: Chance, by: Duration) -> Self {
        self.reordered = chance;
        self.held_back = bounded(by);
        self
    }

    /// No packet arrives, and nobody is told.
    pub const fn drop_all(mut self) -> Self {
        self.dropped = true;
        self
    }

    /// A packet of more than `bytes` bytes, its IP header included, does not arrive, and nobody is told: an MTU black
    /// hole. The devices of the link have an MTU of [`ImpairedLink::MTU`](crate::ImpairedLink::MTU).
    pub const fn drop_longer_than(mut self, bytes: usize) -> Self {
        self.longest = Some(bytes);
        self
    }

    /// No packet arrives, and the sender of each is told so by `rejection`, after the [`delay`](Self::delay). A packet
    /// that must not be answered (a reset, an ICMP error; with [`Rejection::Reset`] whatever is not TCP) is only
    /// dropped.
    pub const fn reject(mut self, rejection: Rejection) -> Self {
        self.rejected = Some(rejection);
        self
    }
}

const fn bounded(time: Duration) -> Duration {
    if time.as_secs() >= Impairment::LONGEST.as_secs() { Impairment::LONGEST } else { time }
}

/// A probability, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(u32);

impl Chance {
    /// 0 %.
    pub const NEVER: Self = Self(0);
    /// 100 %.
    pub const ALWAYS: Self = Self(MILLION);

    /// A percentage; more than 100 is taken as 100.
    pub const fn percent(percent: u32) -> Self {
        Self::millionths(percent.saturating_mul(10_000))
    }

    /// Thousandths; more than 1000 are taken as 1000.
    pub const fn per_mille(per_mille: u32) -> Self {
        Self::millionths(per_mille.saturating_mul(1000))
    }

    const fn millionths(millionths: u32) -> Self {
        if millionths > MILLION { Self::ALWAYS } else { Self(millionths) }
    }

    /// Whether it happens for a random number of 64 bits.
    pub(super) fn decides(self, random: u64) -> bool {
        // The product is below 2^84: exact. The bias is below a millionth of a millionth.
        (u128::from(random) * u128::from(MILLION)) >> 64 < u128::from(self.0)
    }
}

const MILLION: u32 = 1_000_000;

/// How a firewall or router refuses a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// With a TCP reset that seems to come from the packet's destination. The sender gets `ECONNRESET`, from
    /// connect(2) `ECONNREFUSED`.
    Reset,
    /// With ICMP "network unreachable" (over IPv6 "no route to destination"): `ENETUNREACH`.
    NetworkUnreachable,
    /// With ICMP "host unreachable" (over IPv6 "address unreachable"): `EHOSTUNREACH`.
    HostUnreachable,
    /// With ICMP "port unreachable": `ECONNREFUSED`.
    PortUnreachable,
    /// With ICMP "communication administratively prohibited": `EHOSTUNREACH`, over IPv6 `EACCES`.
    Prohibited,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_decide_at_their_rate_and_their_ends_always() {
        for number in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(!Chance::NEVER.decides(number));
            assert!(Chance::ALWAYS.decides(number));
        }
        let tenth = u64::MAX / 10;
        assert!(Chance::percent(10).decides(tenth - 1) && !Chance::percent(10).decides(tenth + tenth / 1000));
        assert_eq!(Chance::percent(10), Chance::per_mille(100));
        assert_eq!(Chance::percent(u32::MAX), Chance::ALWAYS);
        assert_eq!(Chance::per_mille(1001), Chance::ALWAYS);
    }

    #[test]
    fn times_are_bounded() {
        let endless = Impairment::new().delay(Duration::MAX).jitter(Duration::MAX);
        assert_eq!((endless.delay, endless.jitter), (Impairment::LONGEST, Impairment::LONGEST));
        let day = Impairment::LONGEST;
        assert_eq!(
            Impairment::new().delay(day - Duration::from_nanos(1)).delay,
            day - Duration::from_nanos(1)
        );
    }
}
