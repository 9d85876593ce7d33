//! One session's state, in 20 bytes.

use core::time::Duration;

use super::terms::Role;
use crate::instant::Instant;
use crate::stamp::Stamp;

/// One session's state. [`Live`](super::Live) works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub(super) phase: Phase,
    /// Heartbeats since the last PING.
    pub(super) beats: u8,
    pub(super) flags: Flags,
    /// The bytes that are still to come of a frame whose head has arrived.
    pub(super) rest: u16,
    /// When the oldest unanswered PING was sent: see `Live::unresponsive_for`.
    pub(super) asked: u16,
    /// From one frame of this side to the next, at most, milliseconds.
    pub(super) interval: u32,
    /// The last round-trip time, microseconds; 0 if none was measured.
    pub(super) rtt: u32,
    /// When it was admitted, or began; seconds.
    pub(super) since: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The peer's HELLO is still to come.
    Greeting,
    /// The peer's HELLO came; it is neither admitted nor refused.
    Greeted,
    Up,
    Over,
}

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        pub(super) struct Flags(u16);

        impl Flags {
            $($(#[$doc])* pub(super) const $name: u16 = 1 << $bit;)+
        }
    };
}

flags! {
    /// This side accepted the stream.
    ACCEPTOR = 0,
    /// This side sends no more DATA.
    ENDED = 1,
    /// The peer sends no more DATA.
    PEER_ENDED = 2,
    /// This side said BYE.
    LEFT = 3,
    /// The peer said BYE.
    PEER_LEFT = 4,
    /// The frame whose head has arrived is to be skipped.
    SKIPPING = 5,
    /// The last DATA frame had MORE: its message goes on.
    MORE = 6,
    /// A PING is unanswered.
    ASKED = 7,
    /// The caller was told that the peer does not answer.
    UNRESPONSIVE = 8,
    /// Bytes of a frame arrived that is not complete.
    PART = 9,
    /// The peer was lost, or reset the session.
    LOST = 10,
}

impl Flags {
    pub(super) const fn has(self, flag: u16) -> bool {
        self.0 & flag != 0
    }

    pub(super) const fn set(&mut self, flag: u16) {
        self.0 |= flag;
    }

    pub(super) const fn clear(&mut self, flag: u16) {
        self.0 &= !flag;
    }

    pub(super) const fn put(&mut self, flag: u16, on: bool) {
        if on { self.set(flag) } else { self.clear(flag) }
    }
}

impl Session {
    /// A session in which nobody has spoken.
    pub fn new(role: Role, now: Instant) -> Self {
        let mut flags = Flags::default();
        flags.put(Flags::ACCEPTOR, role == Role::Acceptor);
        Self {
            phase: Phase::Greeting,
            beats: 0,
            flags,
            rest: 0,
            asked: 0,
            interval: 0,
            rtt: 0,
            since: seconds(now),
        }
    }

    /// Which side of the stream this is.
    pub const fn role(&self) -> Role {
        if self.flags.has(Flags::ACCEPTOR) { Role::Acceptor } else { Role::Connector }
    }

    /// Whether the two sides have not agreed yet.
    pub const fn is_greeting(&self) -> bool {
        matches!(self.phase, Phase::Greeting | Phase::Greeted)
    }

    /// Whether the two sides have agreed, and the session is not over. It may be leaving.
    pub const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    /// Whether nothing more will arrive and nothing more may be sent: the stream is to be closed.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether this side said BYE.
    pub const fn has_left(&self) -> bool {
        self.flags.has(Flags::LEFT)
    }

    /// Whether the peer said BYE.
    pub const fn peer_has_left(&self) -> bool {
        self.flags.has(Flags::PEER_LEFT)
    }

    /// Whether this side has said that it sends no more DATA.
    pub const fn has_ended(&self) -> bool {
        self.flags.has(Flags::ENDED)
    }

    /// Whether the peer has said that it sends no more DATA.
    pub const fn peer_has_ended(&self) -> bool {
        self.flags.has(Flags::PEER_ENDED)
    }

    /// Whether the peer does not answer PINGs although its bytes arrive.
    pub const fn is_unresponsive(&self) -> bool {
        self.flags.has(Flags::UNRESPONSIVE)
    }

    /// How often this side sends something; zero before the two have agreed.
    pub const fn interval(&self) -> Duration {
        Duration::from_millis(self.interval as u64)
    }

    /// The last round-trip time from this application to the peer's, if one was measured.
    pub const fn rtt(&self) -> Option<Duration> {
        if self.rtt == 0 { None } else { Some(Duration::from_micros(self.rtt as u64)) }
    }

    /// For how long it has been up, or has waited to be, to the second.
    pub fn age(&self, now: Instant) -> Duration {
        Duration::from_secs(seconds(now).saturating_sub(self.since).into())
    }
}

/// Whole seconds since the origin; 136 years.
pub(super) const fn seconds(now: Instant) -> u32 {
    (now.millis() / 1000) as u32
}

/// Microseconds since the origin; they wrap after 71 minutes. The token of a PING.
pub(super) const fn micros(now: Instant) -> u32 {
    now.micros() as u32
}

/// The time stamps of one session, for those who have only one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub heard: Stamp,
    /// Milliseconds.
    pub patience: u32,
    pub due: Stamp,
}
