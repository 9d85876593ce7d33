//! What the sessions of one side have in common.

use core::time::Duration;

use super::wire::{Hello, Offer};

/// How a side takes part in its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// What it offers to each peer.
    pub offer: Offer,
    /// The peer's HELLO must be complete within this time from the start of the session.
    pub greeting: Duration,
    /// Every `n`th heartbeat is a PING, from which the round-trip time is known; 0 for none, 1 for all.
    pub measure_every: u8,
    /// How late the caller may be with a heartbeat. Heartbeats are due earlier by this time.
    pub lateness: Duration,
    /// The largest message that this side accepts, bytes.
    pub max_message: u32,
    /// The credit with which the peer begins, bytes; 0: this side accepts no DATA. A side that accepts messages needs at least
    /// [`Terms::RESERVE`] more than its largest message.
    pub window: u32,
}

impl Terms {
    /// The least difference between the window and the largest message, bytes. Without it, a message that arrives in
    /// pieces could use up the credit before it is complete.
    pub const RESERVE: u32 = 32 * 1024;

    /// The default for an offer: a HELLO within 10 s, every sixth heartbeat a PING, messages of 64 KiB, a window of 128 KiB.
    pub const fn new(offer: Offer) -> Self {
        Self {
            offer,
            greeting: Duration::from_secs(10),
            measure_every: 6,
            lateness: Duration::ZERO,
            max_message: Hello::MAX_MESSAGE,
            window: 2 * Hello::MAX_MESSAGE,
        }
    }

    /// The HELLO of this side.
    pub const fn hello<'b>(&self, id: &'b str, token: &'b [u8]) -> Hello<'b> {
        Hello { offer: self.offer, id, max_message: self.max_message, window: self.window, token }
    }
}

/// Which side of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that opened the stream. It speaks first.
    Connector,
    /// The side that accepted the stream. It answers once it has admitted the connector.
    Acceptor,
}
