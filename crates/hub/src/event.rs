//! What a hub tells.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use deadpeer::PeerLost;
use deadpeer_core::carried::{End, GOODBYE};
use deadpeer_core::session::{Bye, Happened, Malformed};
use deadpeer_core::{Span, Timing, TimingError};

/// Who a session is with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The name in its HELLO; may be empty. Where it showed a certificate, the name belongs to that.
    pub id: String,
    /// A server's: the peer's address. A gateway's: that of the program whose connection it carries.
    pub address: SocketAddr,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A session is up.
    Arrived {
        /// With whom.
        who: Who,
        /// What was agreed.
        timing: Timing,
    },
    /// A session is over.
    Ended {
        /// With whom.
        who: Who,
        /// Why.
        why: Ending,
        /// How long it was up.
        up: Duration,
        /// Its last events, the oldest first: at most 32, and as many as the journal of the loop still had.
        events: Box<[Happened]>,
    },
    /// The peer's bytes arrive, and it does not answer: its program may hang while its kernel sends what is queued, or a proxy
    /// stands between. It is not dead.
    Unresponsive {
        /// With whom.
        who: Who,
        /// A PING has been unanswered for this time.
        unanswered: Duration,
    },
    /// The peer asks for another session, because it will stop.
    Draining {
        /// With whom.
        who: Who,
        /// After this time.
        back_in: Duration,
    },
    /// A connection never became a session.
    Refused {
        /// Whose it was.
        address: SocketAddr,
        /// Why.
        why: Refusal,
    },
    /// A client waits before it tries again.
    Waiting {
        /// For so long.
        wait: Duration,
    },
    /// No connections can be accepted at present; it goes on by itself.
    Hindered {
        /// What is in the way, and what to do.
        why: String,
    },
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The peer said goodbye, or both sides had said all.
    Left(Bye),
    /// The peer is dead, or the way to it.
    Died(PeerLost),
    /// The plain connection that the session was joined to was lost, or could not be made.
    PlainLost(String),
    /// The other end of a carried connection lost its program, or the connection to it, so the data is not complete.
    Reset(String),
    /// The peer did what it may not.
    Broke(String),
}

/// Why a connection never became a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There are as many sessions as there may be.
    Full {
        /// So many.
        limit: usize,
    },
    /// There are as many from its address as there may be.
    FullForAddress {
        /// So many.
        limit: u32,
    },
    /// No valid HELLO came in time.
    Silent {
        /// This time.
        patience: Duration,
    },
    /// It ended before its HELLO.
    Closed,
    /// Its bytes are not the protocol.
    Malformed(Malformed),
    /// Its heartbeats would be too slow.
    TooSlow(TimingError),
    /// Its TLS handshake failed.
    Tls(String),
    /// It says another name than its certificate.
    WrongName {
        /// What it says.
        said: String,
        /// What its certificate says.
        certified: Vec<String>,
    },
    /// A gateway's: the server said so.
    Bye(Bye),
    /// A gateway's: there is no way to the server. A server's: nor to the place that it forwards to.
    Unreachable(String),
}

impl Ending {
    /// The words for the end of a carried connection.
    pub(crate) fn of(end: End) -> Self {
        match end {
            End::PlainLost => Self::PlainLost("the plain side was lost".to_owned()),
            End::PeerReset(reason) => Self::Reset(format!("the other end reset it: {reason}")),
            End::Stopped => Self::Reset("it was not complete when this side had to stop".to_owned()),
            End::SessionLost => Self::Reset("the session was lost".to_owned()),
            _ => Self::Left(GOODBYE),
        }
    }

    /// Its kind in kebab case, stable; a death's is that of its [`Loss`](deadpeer::Loss).
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Left(_) => "left",
            Self::Died(lost) => lost.cause.as_str(),
            Self::PlainLost(_) => "plain-lost",
            Self::Reset(_) => "reset-by-other-end",
            Self::Broke(_) => "protocol-error",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left(bye) => said(bye, f),
            Self::Died(lost) => lost.fmt(f),
            Self::PlainLost(what) | Self::Reset(what) => f.write_str(what),
            Self::Broke(what) => f.write_str(what),
        }
    }
}

fn said(bye: &Bye, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "the peer said goodbye: {bye}")
}

impl Refusal {
    /// Its kind in kebab case, stable.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::FullForAddress { .. } => "full-for-address",
            Self::Silent { .. } => "silent",
            Self::Closed => "closed",
            Self::Malformed(_) => "malformed",
            Self::TooSlow(_) => "too-slow",
            Self::Tls(_) => "tls",
            Self::WrongName { .. } => "wrong-name",
            Self::Bye(_) => "bye",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => write!(f, "there are {limit} sessions, the limit"),
            Self::FullForAddress { limit } => {
                write!(f, "there are {limit} sessions from its address, the limit")
            }
            Self::Silent { patience } => write!(f, "no valid HELLO came within {}", Span(*patience)),
            Self::Closed => f.write_str("it closed before its HELLO"),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::TooSlow(error) => error.fmt(f),
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::WrongName { said, certified } => {
                write!(f, "it says that it is {said:?}; its certificate says {}", certified.join(", "))
            }
            Self::Bye(bye) => said(bye, f),
            Self::Unreachable(error) => f.write_str(error),
        }
    }
}
