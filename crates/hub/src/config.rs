//! How a hub takes part.

use std::num::NonZeroUsize;
use std::time::Duration;

use deadpeer_core::{Offer, Settings};

/// What servers and gateways have in common.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// What this side offers to each peer.
    pub offer: Offer,
    /// What the kernel is told for connections that carry data: for the plain ones, where there is no
    /// heartbeat, and for sessions that are not read because the plain side takes nothing. `None` for nothing. An RTO
    /// ceiling is put back before a connection closes.
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
    /// So many bytes are held for a session that carries data, in each direction, while the other side takes
    /// no more; then nothing more is read. 1,024 at least.
    pub buffered_per_session: usize,
    /// So many bytes are held in all; then nothing more is read from those who send data. Heartbeats of
    /// sessions without data go on.
    pub buffered: usize,
    /// A peer's valid HELLO must come within this, the TLS handshake and the connecting included.
    pub greeting: Duration,
}

impl Default for Limits {
    /// 10,000 sessions, any number from one address, 64 KiB each and 64 MiB in all, 10 s.
    fn default() -> Self {
        Self {
            sessions: 10_000,
            sessions_per_address: None,
            buffered_per_session: 64 * 1024,
            buffered: 64 * 1024 * 1024,
            greeting: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// What one read takes, and so what can be left over.
    pub(crate) fn chunk(&self) -> usize {
        self.buffered_per_session.clamp(1024, deadpeer_core::protocol::LIMIT as usize)
    }
}
