//! What has gone unanswered, and for how long at least.

use core::time::Duration;

use crate::facts::{Answer, Asked, Facts, Timer};
use crate::known::Known;
use crate::retransmission::Backoff;

/// Which tries went unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tries {
    /// Our own questions.
    Questions,
    /// Retransmissions of data.
    Retransmissions,
    /// The socket's own keepalive probes.
    KeepaliveProbes,
    /// Probes of a shut window.
    WindowProbes,
}

/// Tries that went unanswered: how many, and for how long at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Which.
    pub tries: Tries,
    /// How many.
    pub count: u16,
    /// A lower bound of the time since the first of them. It follows from the pauses between the tries:
    /// timers are late, never early.
    pub over: Duration,
}

impl Facts {
    /// The kernel accepts no shorter keepalive interval (`do_tcp_setsockopt`, whole seconds, 1 at least).
    const SHORTEST_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

    /// What has gone unanswered, the strongest first: our questions, then what the kernel tried by itself.
    ///
    /// This is the one formula behind every "silent to n tries over t".
    pub fn silence(&self) -> Option<Silence> {
        self.silences()
            .reduce(|a, b| if (b.over, b.count) > (a.over, a.count) && b.count >= a.count { b } else { a })
    }

    /// Our questions, then what the kernel tried by itself.
    pub(crate) fn silences(&self) -> impl Iterator<Item = Silence> {
        self.unanswered_questions().into_iter().chain(self.unanswered_tries())
    }

    /// What our own kernel has tried to send in vain ([`Facts::cannot_send`]): it never reached the network, so it says
    /// nothing about the peer.
    pub fn futile_tries(&self) -> Option<Silence> {
        match self.timer {
            Timer::WindowProbe(due) if self.cannot_send() => self.window_probes(due),
            _ => None,
        }
    }

    fn unanswered_questions(&self) -> Option<Silence> {
        match self.asked {
            Some(Known::Is(Asked { tries, over, answer: Answer::None, .. })) if tries > 0 => {
                Some(Silence { tries: Tries::Questions, count: tries, over })
            }
            _ => None,
        }
    }

    fn unanswered_tries(&self) -> Option<Silence> {
        let mut silence = match self.timer {
            Timer::Retransmit(due) if self.retransmits > 0 => Some(Silence {
                tries: Tries::Retransmissions,
                count: self.retransmits.into(),
                over: self.backed_off(self.retransmits, due),
            }),
            Timer::WindowProbe(due) if self.probes_out > 0 && !self.cannot_send() => self.window_probes(due),
            Timer::Keepalive(due) if self.probes_out > 0 => self.keepalive_probes(due),
            _ => None,
        }?;
        // A ceiling that is not known would make pauses look longer than they were.
        silence.over = silence.over.min(self.last_heard.value().unwrap_or(Duration::MAX));
        Some(silence)
    }

    /// A lower bound of the time that `tries` with exponential pauses have taken, when the next is due in
    /// `due`.
    ///
    /// `rto` holds `backoff` doublings, so the first pause was at least `rto >> backoff` (more where the
    /// ceiling cut a doubling). Tries beyond the doublings had that first pause (thin streams back off
    /// linearly, `tcp_thin_linear_timeouts`). The pause that runs now is `rto`, of which `due` is left.
    fn backed_off(&self, tries: u8, due: Duration) -> Duration {
        let first = self.rto / 1u32.checked_shl(u32::from(self.backoff)).unwrap_or(u32::MAX);
        let doubled = self.backoff.min(tries);
        let linear = first.saturating_mul(u32::from(tries - doubled));
        let pauses = Backoff::new(first, self.rto).elapsed(doubled).saturating_add(linear);
        pauses.saturating_add(self.rto.saturating_sub(due))
    }

    /// Window probes leave `rto` alone and double their pause from it (`tcp_probe0_when`).
    ///
    /// Only those count that came 500 ms after the one before: Linux answers no more of them
    /// (`tcp_invalid_ratelimit`), so the first few of a shut window stay unanswered by a living peer. And the
    /// last one counts only when its answer has had an RTO to come.
    fn window_probes(&self, due: Duration) -> Option<Silence> {
        const ANSWERED_APART: Duration = Duration::from_millis(500);
        let backoff = Backoff::new(self.rto, self.rto_max.unwrap_or(Duration::MAX)).of_window_probes();
        let pause_before = |back: u8| backoff.pause(self.backoff.saturating_sub(back));
        let since_last = pause_before(0).saturating_sub(due);
        let sent = (1..=self.probes_out).take_while(|&back| pause_before(back) >= ANSWERED_APART).count();
        let sent = u8::try_from(sent).unwrap_or(u8::MAX);
        let over = (1..sent).map(pause_before).fold(since_last, Duration::saturating_add);
        let count = u16::from(if since_last >= self.rto { sent } else { sent.saturating_sub(1) });
        (count > 0).then_some(Silence { tries: Tries::WindowProbes, count, over })
    }

    /// The last keepalive probe counts only when its answer has had an RTO to come, which can be told only
    /// where the interval is known.
    fn keepalive_probes(&self, due: Duration) -> Option<Silence> {
        let since_last = self.keepalive_interval.map_or(Duration::ZERO, |whole| whole.saturating_sub(due));
        let count = u16::from(if since_last >= self.rto { self.probes_out } else { self.probes_out - 1 });
        let interval = self.keepalive_interval.unwrap_or(Self::SHORTEST_KEEPALIVE_INTERVAL);
        let over = interval.saturating_mul(u32::from(self.probes_out - 1)).saturating_add(since_last);
        (count > 0).then_some(Silence { tries: Tries::KeepaliveProbes, count, over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::TcpState;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A shut window that was probed so often, the last time 300 ms ago, by a socket with a ceiling of 1 s.
    fn probed(probes: u8, heard: Duration, ceiling: Option<Duration>) -> Facts {
        let mut facts = Facts::new(TcpState::Established);
        (facts.rto, facts.backoff, facts.probes_out) = (ms(204), probes, probes);
        facts.timer = Timer::WindowProbe(ms(700));
        (facts.rto_max, facts.last_heard) = (ceiling, Known::Is(heard));
        facts
    }

    #[test]
    fn a_ceiling_shortens_the_pauses_between_probes() {
        let silence = probed(15, ms(20_000), Some(ms(1_000))).silence().unwrap();
        assert_eq!((silence.tries, silence.count), (Tries::WindowProbes, 13));
        assert!(silence.over >= ms(11_000) && silence.over <= ms(14_000), "{silence:?}");
    }

    #[test]
    fn nobody_is_silent_for_longer_than_unheard() {
        // Without the ceiling the pauses would have doubled, for hours.
        let silence = probed(15, ms(14_000), None).silence().unwrap();
        assert_eq!(silence.over, ms(14_000));
    }
}
