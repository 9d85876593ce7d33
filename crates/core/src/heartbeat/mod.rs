//! The heartbeat: when to send one, and when the peer's have stopped.
//!
//! ```text
//!            handle_heard                     handle_heard, handle_sent
//!            ┌─────────┐                      ┌─────────┐
//!            │         ▼     nothing sent     │         ▼
//!          ┌─┴──────────┐    for an interval ┌┴───────────┐
//!   new ──▶│   Quiet    │───────────────────▶│   Pinging  │   a ping is wanted and not yet written
//!          │            │◀───────────────────│            │
//!          └─────┬──────┘     handle_sent    └─────┬──────┘
//!                │ nothing heard for the tolerance │
//!                └───────────────┬─────────────────┘
//!                                ▼
//!                         ┌────────────┐
//!                         │    Lost    │   told once; nothing follows
//!                         └────────────┘
//! ```
//!
//! It knows no bytes, no socket and no clock. The loop around it: tell it what happened (`handle_*`), then
//! [`poll`](Heartbeat::poll) until `None`, then wait for whatever comes first, an event or the
//! [`deadline`](Heartbeat::deadline).
//!
//! What holds, numbered for the tests:
//!
//! 1. Never early: `Lost` comes no sooner than the tolerance after the last `handle_heard`.
//! 2. Never late: it comes at the first poll at or after that moment, once, and nothing comes after it.
//! 3. In every interval something is sent: a ping is wanted at most an interval after the last
//!    `handle_sent`. Jitter makes it earlier, never later (RFC 5880, 6.8.7).
//! 4. Traffic replaces pings: each `handle_sent` puts the next ping off.
//! 5. A wanted ping is told once until `handle_sent`: a full send buffer can't pile up pings.
//! 6. `poll` gives nothing before `deadline`, and something at it.
//! 7. One's own pause is not the peer's silence: [`handle_pause`](Heartbeat::handle_pause) shifts what is
//!    expected of the peer, not what it is owed.

mod timing;

#[cfg(test)]
mod tests;

use core::time::Duration;

use crate::instant::Instant;
use crate::random::Random;
pub use timing::{Timing, TimingError};

/// One connection's heartbeat. See the [module's](self) drawing and rules.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::{Beat, Heartbeat, Instant, Timing};
///
/// let at = |seconds| Instant::from_origin(Duration::from_secs(seconds));
/// let timing = Timing::new(Duration::from_secs(3), Duration::from_secs(10))?;
/// let mut heartbeat = Heartbeat::new(timing, 42, at(0));
///
/// assert_eq!(heartbeat.poll(at(0)), None);
/// let Some(Beat::Ping { token }) = heartbeat.poll(at(3)) else { panic!("it is time to send something") };
/// heartbeat.handle_sent(at(3)); // the ping was written
/// assert_eq!(heartbeat.handle_echo(token, at(4)), Some(Duration::from_secs(1))); // its round-trip time
///
/// heartbeat.handle_sent(at(13)); // this side goes on sending, and nothing comes back
/// assert_eq!(heartbeat.poll(at(14)), Some(Beat::Lost { silent: Duration::from_secs(10) }));
/// assert_eq!(heartbeat.poll(at(99)), None);
/// # Ok::<(), deadpeer_core::TimingError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Heartbeat {
    timing: Timing,
    heard: Instant,
    /// When the next ping is wanted.
    due: Instant,
    pinged: Instant,
    random: Random,
    token: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Quiet,
    /// The ping was handed out and not yet written.
    Pinging,
    Lost,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Send something that the peer will see; if it can be answered with its token, `handle_echo` tells the
    /// round-trip time. It is not repeated until `handle_sent`.
    Ping {
        /// Another one for each ping.
        token: u32,
    },
    /// The peer is lost: nothing was heard for the tolerance.
    Lost {
        /// For how long nothing was heard.
        silent: Duration,
    },
}

impl Heartbeat {
    /// Starts now, as if the peer had just been heard and had just been sent something. `seed` makes the
    /// jitter: give each connection another one, so that thousands don't beat in step.
    pub fn new(timing: Timing, seed: u64, now: Instant) -> Self {
        let mut heartbeat = Self {
            timing,
            heard: now,
            due: now,
            pinged: now,
            random: Random::new(seed),
            token: 0,
            state: State::Quiet,
        };
        heartbeat.schedule(now);
        heartbeat
    }

    /// Something arrived. Call it when bytes were *processed*, not when they were read, where the peer is to
    /// prove that its answers make progress here.
    pub fn handle_heard(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
    }

    /// Keeps another timing from now on; the peer was heard just now.
    pub fn change(&mut self, timing: Timing, now: Instant) {
        self.timing = timing;
        self.handle_heard(now);
        self.state = State::Quiet;
        self.schedule(now);
    }

    /// Something was written that the peer will see.
    pub fn handle_sent(&mut self, now: Instant) {
        if self.state == State::Pinging {
            self.pinged = now;
            self.state = State::Quiet;
        }
        self.schedule(now);
    }

    /// The answer to a ping arrived; its round-trip time, unless it answers an older ping. It counts as
    /// heard.
    pub fn handle_echo(&mut self, token: u32, now: Instant) -> Option<Duration> {
        self.handle_heard(now);
        (token == self.token && self.state == State::Quiet).then(|| now.since(self.pinged))
    }

    /// This process did not run for `paused`, until now: the machine slept, a debugger or SIGSTOP held it,
    /// its thread starved. Nothing could be heard or sent, so nothing is held against the peer.
    pub fn handle_pause(&mut self, now: Instant, paused: Duration) {
        self.heard = self.heard.after(paused).min(now);
        self.pinged = self.pinged.after(paused).min(now);
        // What we owed meanwhile is still due: the peer has been waiting for it.
    }

    /// What there is to do now, if anything.
    pub fn poll(&mut self, now: Instant) -> Option<Beat> {
        if self.state == State::Lost {
            return None;
        }
        let silent = now.since(self.heard);
        if silent >= self.timing.tolerance() {
            self.state = State::Lost;
            return Some(Beat::Lost { silent });
        }
        if self.state == State::Quiet && now >= self.due {
            self.state = State::Pinging;
            self.token = self.token.wrapping_add(1);
            return Some(Beat::Ping { token: self.token });
        }
        None
    }

    /// When `poll` has something to say if nothing happens before; [`Instant::NEVER`] after a loss.
    pub fn deadline(&self) -> Instant {
        let end = self.heard.after(self.timing.tolerance());
        match self.state {
            State::Quiet => end.min(self.due),
            State::Pinging => end,
            State::Lost => Instant::NEVER,
        }
    }

    /// For how long nothing was heard.
    pub fn silent(&self, now: Instant) -> Duration {
        now.since(self.heard)
    }

    /// The intervals that it keeps.
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    fn schedule(&mut self, now: Instant) {
        self.due = now.after(self.timing.next(&mut self.random));
    }
}
