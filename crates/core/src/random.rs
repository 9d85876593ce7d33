//! Random numbers for jitter and tests: small, seeded, not for secrets.

use core::time::Duration;

/// Random numbers for jitter and tests: small, seeded, not for secrets. SplitMix64 (Steele, Lea, Flood 2014): every seed is a
/// good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// The sequence of numbers that belongs to `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits, each as likely 0 as 1.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A time between `least` and `most`, both included, every one as likely.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_nanos();
        // A span is below 2^64 nanoseconds (584 years) wherever this is called; the product is exact.
        let share = (u128::from(self.next_u64()) * (span.min(u128::from(u64::MAX)) + 1)) >> 64;
        least.saturating_add(Duration::from_nanos(share as u64))
    }
}
