//! How the kernel spaces its tries to get a segment or a window probe through, and when it gives up.

use core::time::Duration;

/// Pauses that double from `first` up to `ceiling` (`icsk_backoff` in net/ipv4/tcp_timer.c).
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::Backoff;
///
/// let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
/// assert_eq!(backoff.pause(0), Duration::from_millis(200));
/// assert_eq!(backoff.pause(9), Duration::from_secs(1));
/// assert_eq!(backoff.elapsed(3), Duration::from_millis(200 + 400 + 800));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// `TCP_RTO_MIN`: the base of the kernel's model of its own retransmissions.
    const MODEL_BASE: Duration = Duration::from_millis(200);

    /// 200 ms doubled this often is longer than any ceiling that Linux takes (120 s).
    const MOST_DOUBLINGS: u8 = 16;

    /// Pauses that start at `first` and never exceed `ceiling`.
    pub const fn new(first: Duration, ceiling: Duration) -> Self {
        Self { first, ceiling }
    }

    /// The pause after `doublings` tries.
    pub fn pause(self, doublings: u8) -> Duration {
        let factor = 1u32.checked_shl(u32::from(doublings)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.ceiling)
    }

    /// The time that the first `count` pauses take together.
    pub fn elapsed(self, count: u8) -> Duration {
        (0..count).fold(Duration::ZERO, |sum, n| sum.saturating_add(self.pause(n)))
    }

    /// When data that nobody acknowledges is given up, counted from its first transmission:
    /// the earliest, and the nominal moment.
    ///
    /// The kernel models `retries` retransmissions from a base of 200 ms whatever the connection's real RTO
    /// is (`tcp_model_timeout`), counts from the first retransmission (`retrans_stamp`), and looks only when
    /// a retransmission timer fires (`retransmits_timed_out`). So the real moment is the first firing past
    /// the model's time; a late timer can make an earlier firing pass it, which the earliest moment allows.
    pub fn data_given_up(self, retries: u8) -> (Duration, Duration) {
        let model = Self::new(Self::MODEL_BASE, self.ceiling).model(retries);
        let start = self.pause(0);
        (start.saturating_add(model), start.saturating_add(self.reaching(model, 1)))
    }

    /// When `limit` is first reached by a sum of whole pauses, the first of them `doublings` long: the moment
    /// of the first firing that finds it passed.
    pub(crate) fn reaching(self, limit: Duration, doublings: u8) -> Duration {
        let mut elapsed = Duration::ZERO;
        for doublings in doublings..=Self::MOST_DOUBLINGS {
            if elapsed >= limit {
                return elapsed;
            }
            elapsed = elapsed.saturating_add(self.pause(doublings));
        }
        // From here on every pause is the longest one.
        let pause = self.pause(Self::MOST_DOUBLINGS);
        let pauses = limit.saturating_sub(elapsed).as_nanos().div_ceil(pause.as_nanos().max(1));
        elapsed.saturating_add(pause.saturating_mul(u32::try_from(pauses).unwrap_or(u32::MAX)))
    }

    /// `tcp_model_timeout`: the time that `retries` retransmissions take by the book.
    pub(crate) fn model(self, retries: u8) -> Duration {
        let ratio = self.ceiling.as_millis() / self.first.as_millis().max(1);
        let doubling = u8::try_from(ratio.checked_ilog2().unwrap_or(0)).unwrap_or(u8::MAX);
        let exponential = |n: u8| {
            let factor = 2u32.checked_shl(u32::from(n)).map_or(u32::MAX, |power| power - 1);
            self.first.saturating_mul(factor)
        };
        match retries.checked_sub(doubling) {
            None | Some(0) => exponential(retries),
            Some(rest) => exponential(doubling).saturating_add(self.ceiling.saturating_mul(u32::from(rest))),
        }
    }

    /// The pauses between window probes: 200 ms at least (`tcp_probe0_base`).
    pub(crate) fn of_window_probes(self) -> Self {
        Self { first: self.first.max(Self::MODEL_BASE), ..self }
    }

    /// When a peer is given up that answers no probe of a window that was just found shut.
    ///
    /// The timer fires once more after `retries` probes (`tcp_probe_timer`).
    pub fn window_given_up(self, retries: u8) -> Duration {
        self.window_given_up_after(0, 0, retries).1
    }

    /// The same for a window that has been probed for a while: counted from now, which lies somewhere in a
    /// pause, the earliest moment; and counted from the last probe, or its answer, the nominal one.
    ///
    /// `doublings` is TCP_INFO's `tcpi_backoff`: an answer starts the count of probes anew, but leaves their
    /// pauses as long as they have grown (`tcp_ack_probe`), up to `retries` doublings (`tcp_send_probe0`).
    /// `unanswered` is `tcpi_probes`.
    ///
    /// ```
    /// use core::time::Duration;
    /// use deadpeer_core::Backoff;
    ///
    /// let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(120));
    /// let minutes = |doublings| backoff.window_given_up_after(doublings, 0, 15).1.as_secs() / 60;
    /// assert_eq!((minutes(0), minutes(15)), (15, 32));
    /// ```
    pub fn window_given_up_after(self, doublings: u8, unanswered: u8, retries: u8) -> (Duration, Duration) {
        let pause = |n: u8| self.pause(doublings.saturating_add(n).min(retries));
        let later = (1..=retries.saturating_sub(unanswered)).map(pause);
        let earliest = later.fold(Duration::ZERO, Duration::saturating_add);
        (earliest, earliest.saturating_add(pause(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_default_is_the_924_6_seconds_of_ip_sysctl() {
        // Documentation/networking/ip-sysctl.rst: "the default value of 15 yields a hypothetical timeout of
        // 924.6 seconds".
        let (earliest, nominal) = Backoff::new(ms(200), ms(120_000)).data_given_up(15);
        assert_eq!(earliest, ms(924_600 + 200));
        assert!(nominal >= earliest && nominal < earliest + ms(120_000), "{nominal:?}");
    }

    #[test]
    fn measured_on_linux_6_18_with_an_rto_ceiling() {
        // TCP_RTO_MAX_MS → seconds until ETIMEDOUT, loopback, tcp_retries2 = 15.
        for (ceiling, seen) in [(1000, 15_000), (2000, 27_500), (5000, 63_000), (30_000, 299_000)] {
            let (earliest, nominal) = Backoff::new(ms(200), ms(ceiling)).data_given_up(15);
            assert!(earliest <= ms(seen), "{ceiling}: {earliest:?}");
            assert!(nominal + nominal / 8 + ms(500) >= ms(seen), "{ceiling}: {nominal:?}");
        }
    }

    #[test]
    fn window_probes_measured_with_a_ceiling_of_one_second() {
        let nominal = Backoff::new(ms(200), ms(1000)).window_given_up(15);
        assert!(nominal <= ms(15_600) && nominal + nominal / 8 >= ms(15_600), "{nominal:?}");
    }

    #[test]
    fn windows_that_were_probed_for_a_while_measured() {
        // doublings and unanswered probes when the peer fell silent → seen in ms, RTO 208 ms, retries2 = 4, on
        // Linux 6.18. The pause that runs then has begun.
        for (doublings, unanswered, seen) in
            [(0, 0, 6_600), (1, 0, 9_540), (2, 1, 8_850), (3, 0, 14_510), (4, 0, 15_340), (4, 0, 16_180)]
        {
            let backoff = Backoff::new(ms(208), ms(120_000));
            let (least, most) = backoff.window_given_up_after(doublings, unanswered, 4);
            assert!(least <= ms(seen) && ms(seen) <= most + most / 8, "{least:?}, {most:?}");
        }
    }

    #[test]
    fn extremes_do_not_overflow_or_loop() {
        for first in [Duration::ZERO, ms(1), Duration::MAX] {
            for ceiling in [Duration::ZERO, ms(1), Duration::MAX] {
                let backoff = Backoff::new(first, ceiling);
                backoff.data_given_up(255);
                backoff.window_given_up(255);
                backoff.window_given_up_after(255, 0, 255);
            }
        }
    }
}
