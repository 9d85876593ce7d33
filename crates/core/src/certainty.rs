//! How sure silence is: how many tries, over how long, prove a death on a path that loses packets.
//!
//! A try asks the peer for an answer, so it needs two packets: one each way. On a path that loses a share `p`
//! of the packets each way, a living peer leaves one try unanswered with the probability `1 − (1 − p)²`, and
//! `n` tries in a row with the `n`th power of it, **if losses are independent**. Bursts of loss are not: an
//! outage of 10 s looks the same as a dead peer for 10 s.
//!
//! docs/certainty.md has the table that follows from this, and what it was measured against.

use core::time::Duration;

use crate::silence::Silence;

/// The share of packets that a path loses each way: an upper bound.
///
/// ```
/// use deadpeer_core::Loss;
///
/// // Nothing measured, or nothing lost: 10 % are assumed, and nine tries prove a death.
/// assert_eq!(Loss::ASSUMED.tries_for_proof(), 9);
/// // 300 of 1,000 packets were lost: up to 32.5 % are.
/// let loss = Loss::measured(300, 1_000);
/// assert_eq!(loss.permille(), 325);
/// assert_eq!(loss.tries_for_proof(), 23);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loss(u16);

impl Loss {
    /// 10 % each way: what is assumed where less was measured, or nothing.
    pub const ASSUMED: Self = Self(100);
    /// 90 % each way; what loses more is no path.
    const WORST: u16 = 900;
    /// Fewer packets than this measure little: one lost SYN would make every silent peer of a young connection
    /// unprovable.
    const SAMPLE: u64 = 20;
    /// Of few packets this many lost ones are no chance of a good path any more. The others of [`Self::SAMPLE`] are
    /// taken to have arrived.
    const TOO_MANY: u64 = 3;
    /// A living peer must be this unlikely to stay silent by chance.
    const CHANCE: f64 = 1e-6;
    /// The 95th percentile of the normal distribution.
    const Z: f64 = 1.644_85;

    /// From packets sent and packets lost of them: the upper end of the one-sided 95 % confidence interval
    /// (Wilson's score), at least [`Loss::ASSUMED`]. Fewer than 20 packets measure nothing, unless three of them were
    /// lost: then they count as 20.
    pub fn measured(lost: u64, sent: u64) -> Self {
        if lost == 0 || (sent < Self::SAMPLE && lost < Self::TOO_MANY) {
            return Self::ASSUMED;
        }
        let sent = sent.max(Self::SAMPLE);
        Self::ceil(upper_bound(lost.min(sent) as f64, sent as f64, Self::Z))
    }

    /// From tries that were answered or not. Each needs two packets, so this is less than their share.
    pub fn measured_by_tries(unanswered: u64, tries: u64) -> Self {
        if tries < Self::SAMPLE || unanswered == 0 {
            return Self::ASSUMED;
        }
        let share = upper_bound(unanswered.min(tries) as f64, tries as f64, Self::Z);
        Self::ceil(1.0 - square_root(1.0 - share))
    }

    fn ceil(share: f64) -> Self {
        let permille = (share * 1000.0) as u16; // rounds down, and saturates
        Self(permille.saturating_add(1).clamp(Self::ASSUMED.0, Self::WORST))
    }

    /// In thousandths.
    pub const fn permille(self) -> u16 {
        self.0
    }

    /// The chance that a living peer leaves one try unanswered.
    fn of_a_try(self) -> f64 {
        let through = 1.0 - f64::from(self.0) / 1000.0;
        1.0 - through * through
    }

    /// How many unanswered tries prove a death: ⌈ln 10⁻⁶ / ln(1 − (1 − p)²)⌉.
    pub fn tries_for_proof(self) -> u16 {
        let each = self.of_a_try();
        let (mut tries, mut chance) = (1, each);
        while chance > Self::CHANCE {
            chance *= each;
            tries += 1;
        }
        tries
    }

    /// A living peer leaves this many tries unanswered once in how many times, for independent losses: rounded down
    /// to two figures.
    pub fn odds(self, tries: u16) -> u64 {
        let chance = (0..tries).fold(1.0, |chance, _| chance * self.of_a_try());
        // No more than JSON's readers hold exactly.
        let odds = (1.0 / chance).min(1e15) as u64;
        let figures = odds.checked_ilog10().unwrap_or(0).saturating_sub(1);
        let unit = 10u64.pow(figures);
        odds / unit * unit
    }
}

/// Wilson's upper bound of a share.
fn upper_bound(hits: f64, of: f64, z: f64) -> f64 {
    let (share, square) = (hits / of, z * z);
    let spread = square_root(share * (1.0 - share) / of + square / (4.0 * of * of));
    (share + square / (2.0 * of) + z * spread) / (1.0 + square / of)
}

/// Newton's method: `core` has no square root. For values from 0 to 1.
fn square_root(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    (0..40).fold(1.0, |root, _| 0.5 * (root + value / root))
}

/// What unanswered tries have to be for a death to be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// At least this many tries, each with the time to be answered …
    pub tries: u16,
    /// … over at least this time.
    pub over: Duration,
    /// The loss of the path that follows from; `None` on this host, which loses nothing.
    pub loss: Option<Loss>,
}

impl Proof {
    /// For a peer on this host: 3 tries over 3 s.
    pub const ON_THIS_HOST: Self = Self { tries: 3, over: Duration::from_secs(3), loss: None };

    /// A round trip may have risen to this much without TCP having seen it yet.
    pub const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(10);

    /// For a path to another host.
    pub fn across(loss: Loss) -> Self {
        Self { tries: loss.tries_for_proof(), over: Self::LONGEST_ROUND_TRIP, loss: Some(loss) }
    }

    /// Whether `silence` is enough.
    pub fn is_met_by(&self, silence: Silence) -> bool {
        silence.count >= self.tries && silence.over >= self.over
    }

    /// How long it takes, with tries `gap` apart and the last one given `patience`.
    pub fn takes(&self, gap: Duration, patience: Duration) -> Duration {
        let last = gap.saturating_mul(u32::from(self.tries.saturating_sub(1)));
        last.saturating_add(patience).max(self.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_page() {
        let tries = |permille| Loss(permille).tries_for_proof();
        assert_eq!([100, 150, 200, 300, 400, 500].map(tries), [9, 11, 14, 21, 31, 49]);
        assert_eq!(Loss(100).odds(9), 3_000_000);
        assert_eq!(Loss(300).odds(9), 420, "what nine tries are worth at 30 %");
        assert_eq!(Loss(Loss::WORST).tries_for_proof(), 1375);
    }

    #[test]
    fn few_packets_measure_nothing_and_many_measure_well() {
        assert_eq!(Loss::measured(1, 2), Loss::ASSUMED);
        assert_eq!(Loss::measured(0, 1_000_000), Loss::ASSUMED);
        assert_eq!(Loss::measured(2, 19), Loss::ASSUMED);
        // 8 of 15 can't be 10 %. Three in an outage leave a proof possible within 30 s.
        assert!(Loss::measured(8, 15).permille() > 500);
        assert!(Loss::measured(3, 5).tries_for_proof() < 30, "{:?}", Loss::measured(3, 5));
        assert_eq!(Loss::measured(20, 20).permille(), Loss::WORST);
        assert!((300..310).contains(&Loss::measured(30_000, 100_000).permille()));
        // Half of the tries unanswered: some 29 % of the packets lost each way.
        assert!((293..303).contains(&Loss::measured_by_tries(5_000, 10_000).permille()));
        // More lost than sent is a miscount, not a panic.
        assert_eq!(Loss::measured(u64::MAX, 30).permille(), Loss::WORST);
    }

    #[test]
    fn roots() {
        for value in [0.0, 1e-9, 0.01, 0.25, 0.5, 1.0] {
            let root = square_root(value);
            assert!((root * root - value).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn proof_takes_its_tries_and_its_time() {
        let second = Duration::from_secs(1);
        assert_eq!(Proof::ON_THIS_HOST.takes(second, second), second * 3);
        assert_eq!(Proof::across(Loss::ASSUMED).takes(second, second), second * 10);
        assert_eq!(Proof::across(Loss(300)).takes(second, second * 3), second * 23);
        assert_eq!(Proof::across(Loss::ASSUMED).takes(second, second * 6), second * 14);
    }
}
