//! How a hub takes part.

use std::num::NonZeroUsize;
use std::time::Duration;

use deadpeer_core::Settings;
use deadpeer_core::session::{MOST_DATA, Offer};

/// What servers and gateways have in common.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// What this side offers to each peer.
    pub offer: Offer,
    /// What the kernel is told for plain connections, where there is no heartbeat. `None` for nothing. An RTO ceiling is put
    /// back before a connection closes.
    pub settings: Option<Settings>,
    /// Who this side says it is, at most 64 bytes.
    pub id: String,
    /// The limits.
    pub limits: Limits,
    /// So many loops, each in a thread of its own.
    pub loops: NonZeroUsize,
    /// Each so-manieth beat asks for the round-trip time; 0 for none.
    pub measure_every: u8,
}

impl Config {
    /// The default around an offer: a loop per core, each sixth beat a ping, no kernel settings.
    pub fn new(offer: Offer) -> Self {
        let loops = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { offer, settings: None, id: String::new(), limits: Limits::default(), loops, measure_every: 6 }
    }
}

/// What one process takes on. What goes beyond is refused, and said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// So many sessions at once. Each takes one descriptor, a joined one two.
    pub sessions: usize,
    /// So many sessions from one address; `None` for no limit (many clients may sit behind one NAT).
    pub sessions_per_address: Option<u32>,
    /// The most bytes that are held for a session that carries data, in each direction, while the other side takes no more.
    /// A session begins with less, and gets more as it keeps up. 4 KiB at least.
    pub buffered_per_session: usize,
    /// The most bytes that peers of all sessions may have under way to slow programs, and that are held for slow peers. Each
    /// session that carries data has 4 KiB, also if that exceeds this limit.
    pub buffered: usize,
    /// A peer's valid HELLO must come within this, the TLS handshake and the connecting included.
    pub greeting: Duration,
    /// Told to stop, a hub lets carried connections finish, and waits for goodbyes, for this time. Then it resets what is
    /// left.
    pub stop_within: Duration,
}

impl Default for Limits {
    /// 10,000 sessions, any number from one address, 1 MiB each and 64 MiB in all, 10 s for a HELLO and for a stop.
    fn default() -> Self {
        Self {
            sessions: 10_000,
            sessions_per_address: None,
            buffered_per_session: 1024 * 1024,
            buffered: 64 * 1024 * 1024,
            greeting: Duration::from_secs(10),
            stop_within: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// What one read of a plain connection takes at most.
    pub(crate) fn chunk(&self) -> usize {
        self.buffered_per_session.clamp(1024, 4 * MOST_DATA)
    }

    /// The credit with which a peer begins: its share if there were as many sessions as may be.
    pub(crate) fn window(&self) -> u32 {
        let share = (self.buffered / self.sessions.max(1)).clamp(4 * 1024, 64 * 1024);
        u32::try_from(share.min(self.buffered_per_session.max(4 * 1024))).unwrap_or(u32::MAX)
    }
}
