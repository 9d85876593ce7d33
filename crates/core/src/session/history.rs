//! The last events of a session: the first thing that an operator asks for after a death.

use core::fmt;
use core::time::Duration;

use crate::instant::Instant;
use crate::stamp::Stamp;

macro_rules! what {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// What happened in a session.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum What { $($(#[$doc])* $variant),+ }

        impl What {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in kebab case, stable: the value in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

what! {
    /// The session began.
    Opened = "opened",
    /// The peer's HELLO arrived.
    HeardHello = "heard-hello",
    /// This side sent its HELLO.
    SentHello = "sent-hello",
    /// A BEAT arrived.
    HeardBeat = "heard-beat",
    /// This side sent a BEAT.
    SentBeat = "sent-beat",
    /// A PING arrived.
    HeardPing = "heard-ping",
    /// This side sent a PING.
    SentPing = "sent-ping",
    /// A PONG arrived. The count is the round-trip time in microseconds.
    HeardPong = "heard-pong",
    /// This side sent a PONG.
    SentPong = "sent-pong",
    /// DATA arrived. The count is the number of bytes.
    HeardData = "heard-data",
    /// This side sent DATA. The count is the number of bytes.
    SentData = "sent-data",
    /// Bytes arrived that completed no frame.
    HeardPart = "heard-part",
    /// END arrived.
    HeardEnd = "heard-end",
    /// This side sent END.
    SentEnd = "sent-end",
    /// BYE arrived. The count is the reason's number.
    HeardBye = "heard-bye",
    /// This side sent BYE. The count is the reason's number.
    SentBye = "sent-bye",
    /// RESET arrived. The count is the reason's number.
    HeardReset = "heard-reset",
    /// This side sent RESET. The count is the reason's number.
    SentReset = "sent-reset",
    /// DRAIN arrived.
    HeardDrain = "heard-drain",
    /// This side sent DRAIN.
    SentDrain = "sent-drain",
    /// A heartbeat was due, and earlier bytes still waited to be written.
    Blocked = "blocked",
    /// This process did not run. The count is the time in milliseconds.
    Paused = "paused",
    /// The peer has not answered a PING for its patience, and its bytes arrive.
    Unresponsive = "unresponsive",
    /// The session was lost.
    Lost = "lost",
}

impl What {
    /// The event with this number.
    pub(super) fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether several of these in a row are one event with a sum.
    const fn adds_up(self) -> bool {
        matches!(self, Self::HeardData | Self::SentData | Self::HeardPart)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// What happened.
    pub what: What,
    /// How long ago, to the millisecond. Of DATA that arrived in several pieces: how long ago the last one did.
    pub ago: Duration,
    /// A number: see [`What`]. It stops at 16,777,215.
    pub count: u32,
}

/// The last 32 events of a session, in 260 bytes.
///
/// Consecutive pieces of DATA in one direction are one event.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::Instant;
/// use deadpeer_core::session::{History, What};
///
/// let at = |ms| Instant::from_origin(Duration::from_millis(ms));
/// let mut history = History::default();
/// history.record(What::HeardData, 100, at(0));
/// history.record(What::HeardData, 50, at(10));
/// history.record(What::SentBeat, 0, at(3_000));
/// let events: Vec<_> = history.events(at(5_000)).map(|event| (event.what, event.count, event.ago.as_millis())).collect();
/// assert_eq!(events, [(What::HeardData, 150, 4_990), (What::SentBeat, 0, 2_000)]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// When, and what (8 bits) with a count (24 bits).
    records: [(Stamp, u32); Self::LENGTH],
    next: u8,
    length: u8,
}

impl History {
    /// The number of events that are kept.
    pub const LENGTH: usize = 32;
    const MOST: u32 = 0xff_ffff;

    /// No events.
    pub const fn new() -> Self {
        Self { records: [(Stamp(0), 0); Self::LENGTH], next: 0, length: 0 }
    }

    /// Adds an event.
    pub fn record(&mut self, what: What, count: u32, now: Instant) {
        self.record_at(what, count, Stamp::of(now));
    }

    pub(super) fn record_at(&mut self, what: What, count: u32, now: Stamp) {
        let last = (usize::from(self.next) + Self::LENGTH - 1) % Self::LENGTH;
        let (at, packed) = &mut self.records[last];
        if self.length > 0 && what.adds_up() && *packed >> 24 == u32::from(what as u8) {
            *packed = pack(what, (*packed & Self::MOST).saturating_add(count));
            *at = now;
            return;
        }
        self.records[usize::from(self.next)] = (now, pack(what, count));
        self.next = (self.next + 1) % Self::LENGTH as u8;
        self.length = (self.length + 1).min(Self::LENGTH as u8);
    }

    /// The events, the oldest first.
    pub fn events(&self, now: Instant) -> impl Iterator<Item = Happened> + '_ {
        let first = usize::from(self.next) + Self::LENGTH - usize::from(self.length);
        (first..first + usize::from(self.length)).filter_map(move |at| {
            let (stamp, packed) = self.records[at % Self::LENGTH];
            let what = What::of((packed >> 24) as u8)?;
            Some(Happened { what, ago: stamp.since(now), count: packed & Self::MOST })
        })
    }

    /// The number of events, at most [`History::LENGTH`].
    pub const fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether nothing has happened.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("events", &self.length).finish_non_exhaustive()
    }
}

fn pack(what: What, count: u32) -> u32 {
    (u32::from(what as u8) << 24) | count.min(History::MOST)
}
