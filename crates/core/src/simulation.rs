//! A simulation of Linux' timers, event by event, for tests: written from net/ipv4/tcp_timer.c,
//! tcp_output.c and kernel/time/timer.c of Linux 6.18, and from none of the formulas that it is to check.

use core::time::Duration;

/// Numbers that look random and are the same in every run (SplitMix64).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Within `range`, small numbers as often as large ones.
    pub(crate) fn within(&mut self, least: u64, most: u64) -> u64 {
        let span = most - least + 1;
        let bits = self.next() % (64 - u64::from(span.leading_zeros()) + 1);
        least + self.next() % span.min(1 << bits.min(62))
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[(self.next() % all.len() as u64) as usize]
    }
}

/// A machine: its tick and its wheel. Times are in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) hz: u64,
    /// `jiffies` when the story begins: it decides how far an expiry is from the end of its granule.
    pub(crate) origin: u64,
}

impl Machine {
    /// `msecs_to_jiffies`: rounded up.
    pub(crate) fn ticks(self, ms: u64) -> u64 {
        (ms * self.hz).div_ceil(1000)
    }

    pub(crate) fn time(self, ticks: u64) -> Duration {
        Duration::from_nanos(ticks * 1_000_000_000 / self.hz)
    }

    /// When a timer that is armed at `now` fires (`calc_wheel_index`, `calc_index`).
    pub(crate) fn fires(self, now: u64, delay: u64) -> u64 {
        let mut level = 0;
        while delay >= 63 << (3 * level) {
            level += 1; // LVL_START(level + 1)
        }
        let shift = 3 * level;
        ((((self.origin + now + delay) >> shift) + 1) << shift) - self.origin
    }

    /// `tcp_time_stamp_ts`: in milliseconds.
    fn stamp(self, ticks: u64) -> u64 {
        ticks * 1000 / self.hz
    }
}

/// What is set, in the kernel's units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    /// Seconds.
    pub(crate) idle: u64,
    /// Seconds.
    pub(crate) interval: u64,
    pub(crate) probes: u64,
    /// Milliseconds, 0 is off.
    pub(crate) user_timeout: u64,
    /// Milliseconds.
    pub(crate) rto_max: u64,
    pub(crate) retries2: u64,
    pub(crate) syn_retries: u64,
    pub(crate) syn_linear: u64,
}

/// When the way to the peer is interrupted, in ticks: from the first, to before the second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage(pub(crate) u64, pub(crate) u64);

impl Outage {
    /// The peer is dead.
    pub(crate) const FOR_EVER: Self = Self(0, u64::MAX);

    fn hits(self, at: u64) -> bool {
        (self.0..self.1).contains(&at)
    }
}

/// `tcp_keepalive_timer` on an idle connection whose peer was last heard at 0 and answers within `rtt`; the
/// timer that is running then was armed `armed_before` ticks earlier for `armed_for`. When it ends the
/// connection, and when it first looked; `None` when it is alive `until`.
pub(crate) fn keepalive(
    machine: Machine,
    set: &Set,
    (armed_before, armed_for): (u64, u64),
    (outage, rtt): (Outage, u64),
    until: u64,
) -> (Option<u64>, u64) {
    let (time, interval) = (set.idle * machine.hz, set.interval * machine.hz);
    let user_timeout = machine.ticks(set.user_timeout);
    let (mut heard, mut probes_out, mut first_look) = (0, 0, None);
    let machine_then = Machine { origin: machine.origin - armed_before, ..machine };
    let mut now = machine_then.fires(0, armed_for).saturating_sub(armed_before);
    let mut answer_due = None;
    loop {
        if let Some(due) = answer_due.take_if(|due| *due <= now) {
            (heard, probes_out) = (due, 0);
        }
        if now > until {
            return (None, first_look.unwrap_or(now));
        }
        let elapsed = now - heard;
        let next = if elapsed >= time {
            let first_look = *first_look.get_or_insert(now);
            if (user_timeout != 0 && elapsed >= user_timeout && probes_out > 0)
                || (user_timeout == 0 && probes_out >= set.probes)
            {
                return (Some(now), first_look);
            }
            probes_out += 1;
            if !outage.hits(now) && answer_due.is_none() {
                answer_due = Some(now + rtt);
            }
            interval
        } else {
            time - elapsed
        };
        now = machine.fires(now, next);
    }
}

/// `tcp_model_timeout`, in milliseconds.
fn model_timeout(machine: Machine, set: &Set, boundary: u64, rto_base: u64) -> u64 {
    let (base, max) = (machine.ticks(rto_base), machine.ticks(set.rto_max));
    let thresh = u64::from((max / base).max(1).ilog2());
    let timeout = match boundary <= thresh {
        true => ((2 << boundary) - 1) * base,
        false => ((2 << thresh) - 1) * base + (boundary - thresh) * max,
    };
    timeout * 1000 / machine.hz
}

/// What `tcp_clamp_rto_to_user_timeout` leaves of a pause.
fn clamped(machine: Machine, set: &Set, rto: u64, elapsed_ms: u64) -> u64 {
    match (set.user_timeout, set.user_timeout.saturating_sub(elapsed_ms)) {
        (0, _) => rto,
        (_, 0) => 1,
        (_, remaining) => rto.min(machine.ticks(remaining)),
    }
}

/// `tcp_retransmit_timer` with data in flight since 0 and a first timeout of `rto` milliseconds; with
/// `loss_probe` a tail loss probe went before (RFC 8985). When it ends the connection; `None` when a
/// retransmission was acknowledged.
pub(crate) fn in_flight(
    machine: Machine,
    set: &Set,
    (rto, loss_probe): (u64, Option<u64>),
    outage: Outage,
    rtt: u64,
) -> Option<u64> {
    let max = machine.ticks(set.rto_max);
    let mut rto = machine.ticks(rto).min(max);
    // The probe re-arms the retransmission timer for a whole timeout.
    let probed = loss_probe.map_or(0, |ms| machine.fires(0, machine.ticks(ms).min(rto)));
    let mut now = machine.fires(probed, rto);
    let (mut retransmits, mut stamp, mut answer_due) = (0u64, 0, None::<u64>);
    loop {
        if answer_due.is_some_and(|due| due <= now) {
            return None;
        }
        let elapsed = |stamp| machine.stamp(now) - machine.stamp(stamp);
        if retransmits > 0 {
            let timeout = match set.user_timeout {
                0 => model_timeout(machine, set, set.retries2, 200),
                timeout => timeout,
            };
            if elapsed(stamp) >= timeout {
                return Some(now);
            }
        }
        retransmits += 1;
        if stamp == 0 {
            stamp = now;
        }
        if !outage.hits(now) {
            answer_due = answer_due.or(Some(now + rtt));
        }
        rto = (rto << 1).min(max);
        now = machine.fires(now, clamped(machine, set, rto, elapsed(stamp)));
    }
}

/// `tcp_probe_timer`, `tcp_send_probe0` and `tcp_ack_probe`: the window was found shut at 0, and the first
/// `answered` probes are answered at once. When the connection ends, and when the last answer came.
pub(crate) fn shut_window(machine: Machine, set: &Set, rto: u64, answered: u64) -> (u64, u64) {
    let base = machine.ticks(rto.max(200));
    let max = machine.ticks(set.rto_max);
    let user_timeout = machine.ticks(set.user_timeout);
    let (mut sent, mut heard) = (0, 0);
    let (mut probes_out, mut backoff, mut stamp) = (0, 0u64, None);
    let mut now = machine.fires(0, base.min(max));
    loop {
        match stamp {
            None => stamp = Some(now),
            Some(stamp) if user_timeout != 0 && now - stamp >= user_timeout => return (now, heard),
            Some(_) => {}
        }
        if probes_out >= set.retries2 {
            return (now, heard);
        }
        probes_out += 1;
        if backoff < set.retries2 {
            backoff += 1;
        }
        sent += 1;
        if sent <= answered {
            // tcp_ack(): the count of probes begins anew, their pauses stay.
            (probes_out, heard) = (0, now);
        }
        let when = (base << backoff.min(10)).min(max);
        let remaining = user_timeout.saturating_sub(now - stamp.unwrap_or(now)).max(2);
        now = machine.fires(now, if user_timeout == 0 { when } else { when.min(remaining) });
    }
}

/// `tcp_write_timeout` and `tcp_retransmit_timer` in SYN_SENT: the first SYN left at 0.
pub(crate) fn connecting(machine: Machine, set: &Set) -> u64 {
    let max = machine.ticks(set.rto_max);
    let mut rto = machine.hz.min(max);
    let (mut retransmits, mut total) = (0, 0);
    let mut now = machine.fires(0, rto);
    loop {
        let elapsed = machine.stamp(now);
        let timeout = match set.user_timeout {
            0 => model_timeout(machine, set, set.syn_retries, 1000),
            timeout => timeout,
        };
        if retransmits >= set.syn_retries + set.syn_linear || (retransmits > 0 && elapsed >= timeout) {
            return now;
        }
        retransmits += 1;
        total += 1;
        if total > set.syn_linear {
            rto = (rto << 1).min(max);
        }
        now = machine.fires(now, clamped(machine, set, rto, elapsed));
    }
}
