//! What speaks for a verdict: typed, with figures, and the sentence made from them.

use core::fmt;
use core::time::Duration;

use crate::facts::{Hop, TcpState};
use crate::known::Why;
use crate::silence::Tries;
use crate::text::Span;

/// One piece of evidence. `Display` gives the sentence and [`Evidence::figures`] the numbers in it, so that
/// every output says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// TCP last accepted something from the peer this long ago.
    LastHeard(Duration),
    /// The peer's kernel answered our question.
    Answered {
        /// The time that the answer took.
        after: Duration,
    },
    /// The connection ended right after our question.
    Reset {
        /// The time that it took.
        after: Duration,
    },
    /// The owner closed the connection while we asked.
    Gone,
    /// Tries without an answer.
    Unanswered {
        /// Which tries.
        tries: Tries,
        /// How many.
        count: u8,
        /// For how long at least.
        over: Duration,
        /// Bytes in flight, for retransmissions.
        bytes: u32,
    },
    /// We could not ask.
    NotAsked(Why),
    /// The peer's window is shut while data waits.
    WindowShut {
        /// For how long.
        over: Duration,
        /// The bytes that wait.
        bytes: u32,
    },
    /// Our own program leaves a full queue unread.
    Unread {
        /// For how long.
        over: Duration,
        /// The bytes that wait.
        bytes: u32,
    },
    /// The peer has closed; nothing was heard since.
    PeerClosed {
        /// When, at least.
        ago: Duration,
    },
    /// Connections wait to be accepted.
    AcceptQueue {
        /// How many.
        waiting: u32,
        /// How many may.
        limit: u32,
        /// The longest wait.
        oldest: Duration,
    },
    /// The connection's state, where nothing more is known.
    State(TcpState),
    /// Our own way to the peer is broken, or doubtful.
    Path(Hop),
    /// So many peers behind the same first hop were heard since.
    OthersHeard(u32),
    /// So many other peers behind the same first hop were asked, and none was heard.
    OthersSilent(u32),
}

/// A number, with its unit, or a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// A time.
    Time(Duration),
    /// A number of things.
    Count(u64),
    /// A number of bytes.
    Bytes(u64),
    /// A word.
    Word(&'static str),
}

impl Tries {
    /// What is counted, for one and for several.
    const fn noun(self, count: u8) -> &'static str {
        match (self, count) {
            (Self::Questions, 1) => "question",
            (Self::Questions, _) => "questions",
            (Self::Retransmissions, 1) => "retransmission",
            (Self::Retransmissions, _) => "retransmissions",
            (Self::KeepaliveProbes, 1) => "keepalive probe",
            (Self::KeepaliveProbes, _) => "keepalive probes",
            (Self::WindowProbes, 1) => "window probe",
            (Self::WindowProbes, _) => "window probes",
        }
    }
}

impl Hop {
    /// What is said of our own way.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "the peer is this host",
            Self::Up => "our own way is up",
            Self::LinkDown => "our own link is down",
            Self::NoRoute => "we have no route to the peer",
            Self::Unasked => "the first hop was not asked, and no other peer behind it was heard since",
            Self::NoAddress => "the connection's own address is not configured here any more",
            Self::GatewaySilent => "our gateway did not answer our question on the link",
            Self::PeerUnresolved => {
                "the peer did not answer our question on the link, and nobody else there was heard since"
            }
            Self::MarkUnknown => {
                "the mark that chooses the connection's route needs CAP_NET_ADMIN to be read"
            }
            Self::Transparent => "a transparent socket with a foreign address: its route is not known",
        }
    }
}

impl Evidence {
    /// Its name in kebab case, stable.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::LastHeard(_) => "last-heard",
            Self::Answered { .. } => "answered",
            Self::Reset { .. } => "reset",
            Self::Gone => "gone",
            Self::Unanswered { tries: Tries::Questions, .. } => "questions-unanswered",
            Self::Unanswered { tries: Tries::Retransmissions, .. } => "retransmissions-unanswered",
            Self::Unanswered { tries: Tries::KeepaliveProbes, .. } => "keepalive-unanswered",
            Self::Unanswered { tries: Tries::WindowProbes, .. } => "window-probes-unanswered",
            Self::NotAsked(_) => "not-asked",
            Self::WindowShut { .. } => "window-shut",
            Self::Unread { .. } => "unread",
            Self::PeerClosed { .. } => "peer-closed",
            Self::AcceptQueue { .. } => "accept-queue",
            Self::State(_) => "state",
            Self::Path(_) => "path",
            Self::OthersHeard(_) => "others-heard",
            Self::OthersSilent(_) => "others-silent",
        }
    }

    /// Its figures, by name, in a fixed order.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, Figure)> + use<> {
        use Figure::{Bytes, Count, Time, Word};
        let figures: [Option<(&'static str, Figure)>; 3] = match *self {
            Self::LastHeard(ago) | Self::PeerClosed { ago } => [Some(("ago", Time(ago))), None, None],
            Self::Answered { after } | Self::Reset { after } => [Some(("after", Time(after))), None, None],
            Self::Gone => [None; 3],
            Self::Unanswered { tries, count, over, bytes } => [
                Some(("count", Count(count.into()))),
                Some(("over", Time(over))),
                matches!(tries, Tries::Retransmissions).then_some(("bytes", Bytes(bytes.into()))),
            ],
            Self::NotAsked(why) => [Some(("reason", Word(why.as_str()))), None, None],
            Self::WindowShut { over, bytes } | Self::Unread { over, bytes } => {
                [Some(("over", Time(over))), Some(("bytes", Bytes(bytes.into()))), None]
            }
            Self::AcceptQueue { waiting, limit, oldest } => [
                Some(("waiting", Count(waiting.into()))),
                Some(("limit", Count(limit.into()))),
                Some(("oldest", Time(oldest))),
            ],
            Self::State(state) => [Some(("state", Word(state.as_str()))), None, None],
            Self::Path(hop) => [Some(("hop", Word(hop.as_str()))), None, None],
            Self::OthersHeard(count) | Self::OthersSilent(count) => {
                [Some(("count", Count(count.into()))), None, None]
            }
        };
        figures.into_iter().flatten()
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LastHeard(ago) => write!(f, "last heard {} ago", Span(ago)),
            Self::Answered { after } => write!(f, "answered our question after {}", Span(after)),
            Self::Reset { after } => {
                write!(f, "the connection was reset {} after our question", Span(after))
            }
            Self::Gone => f.write_str("closed by its owner while we looked"),
            Self::Unanswered { tries: Tries::Retransmissions, count, over, bytes } => {
                let noun = Tries::Retransmissions.noun(count);
                write!(f, "{count} {noun} of {bytes} bytes unanswered for {}", Span(over))
            }
            Self::Unanswered { tries, count, over, .. } => {
                write!(f, "{count} {} unanswered for {}", tries.noun(count), Span(over))
            }
            Self::NotAsked(why) => write!(f, "not asked: {why}"),
            Self::WindowShut { over, bytes } => {
                write!(f, "the peer's window is shut for {}, {bytes} bytes wait", Span(over))
            }
            Self::Unread { over, bytes } => {
                write!(f, "the program here has left {bytes} bytes unread for {}", Span(over))
            }
            Self::PeerClosed { ago } => {
                write!(f, "the peer closed {} ago or earlier, the program here has not", Span(ago))
            }
            Self::AcceptQueue { waiting, limit, oldest } => {
                let oldest = Span(oldest);
                write!(f, "{waiting} of {limit} connections wait to be accepted, the oldest for {oldest}")
            }
            Self::State(state) => write!(f, "state {}", state.as_str()),
            Self::Path(hop) => f.write_str(hop.as_str()),
            Self::OthersHeard(_) => f.write_str("others behind the same first hop were heard since"),
            Self::OthersSilent(1) => {
                f.write_str("the only other peer behind the same first hop is silent too")
            }
            Self::OthersSilent(count) => {
                write!(f, "all {count} other peers behind the same first hop are silent too")
            }
        }
    }
}
