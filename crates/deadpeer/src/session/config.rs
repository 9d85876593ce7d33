//! How a side takes part.

use std::time::Duration;

use deadpeer_core::session::{Hello, Offer, Terms};
use deadpeer_core::{Policy, TimingError};

/// How a side takes part in its sessions.
///
/// ```
/// use std::time::Duration;
/// use deadpeer::Policy;
/// use deadpeer::session::Config;
///
/// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
/// let config = Config::keeping(&policy)?.id("pi-17");
/// assert_eq!(config.terms.greeting, Duration::from_secs(9)); // a peer that never greets is as dead as one that falls silent
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// What this side offers and accepts.
    pub terms: Terms,
    /// Who this side says it is, at most 64 bytes.
    pub id: String,
    /// What proves that to the peer, at most 512 bytes; empty for nothing. Send it over encrypted streams only.
    pub token: Vec<u8>,
}

impl Config {
    /// The greatest length of a name in bytes.
    pub const LONGEST_ID: usize = Hello::LONGEST_ID;

    /// The default around an offer: no name, no token; the peer must greet within the offer's patience, at most 10 s.
    pub fn new(offer: Offer) -> Self {
        let mut terms = Terms::new(offer);
        terms.greeting = offer.patience.min(Duration::from_secs(10));
        Self { terms, id: String::new(), token: Vec::new() }
    }

    /// The config that keeps `policy`.
    ///
    /// # Errors
    /// [`TimingError`] if no heartbeat keeps it.
    pub fn keeping(policy: &Policy) -> Result<Self, TimingError> {
        Offer::keeping(policy).map(Self::new)
    }

    /// The same with a name.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// The same with a token.
    #[must_use]
    pub fn token(mut self, token: impl Into<Vec<u8>>) -> Self {
        self.token = token.into();
        self
    }

    /// The same, accepting messages of up to `bytes` bytes.
    #[must_use]
    pub fn max_message(mut self, bytes: u32) -> Self {
        self.terms.max_message = bytes;
        self
    }

    /// The same, storing up to `bytes` bytes of messages that the program has not taken. A session makes it at least 32 KiB
    /// larger than the largest message.
    #[must_use]
    pub fn window(mut self, bytes: u32) -> Self {
        self.terms.window = bytes;
        self
    }
}
