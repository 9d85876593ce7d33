//! What speaks for a verdict: typed, with figures, and the sentence made from them.

use core::fmt;
use core::time::Duration;

use crate::certainty::Loss;
use crate::facts::{AnswerTime, Hop, TcpState};
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
    Answered(AnswerTime),
    /// The peer sent data, or keepalive probes of its own, while we asked.
    HeardMeanwhile,
    /// The connection was reset after our question.
    Reset {
        /// The time that it took.
        after: Duration,
    },
    /// The owner closed the connection while we asked.
    Gone,
    /// The connection has ended, and the socket does not tell why any more.
    Ended,
    /// Tries without an answer.
    Unanswered {
        /// Which tries.
        tries: Tries,
        /// How many.
        count: u16,
        /// For how long at least.
        over: Duration,
        /// Bytes in flight, for retransmissions.
        bytes: u32,
    },
    /// How sure silence is: for independent losses.
    Certainty {
        /// How many tries went unanswered.
        tries: u16,
        /// Packets that the path loses each way, at most.
        loss: Loss,
    },
    /// What would prove the death.
    ProofTakes {
        /// How many tries, unanswered …
        tries: u16,
        /// … over how long.
        over: Duration,
    },
    /// The peer answers, and retransmissions go unacknowledged.
    Stuck {
        /// How many retransmissions.
        count: u8,
        /// The size of the segments, bytes.
        segment: u32,
    },
    /// Retransmissions went unanswered for as long as a proof takes, and prove nothing.
    OnlyQuestionsProve,
    /// Our own kernel can't send.
    CannotSend {
        /// The bytes that wait.
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
    const fn noun(self, count: u16) -> &'static str {
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
            Self::Answered(_) => "answered",
            Self::HeardMeanwhile => "heard-meanwhile",
            Self::Reset { .. } => "reset",
            Self::Gone => "gone",
            Self::Ended => "ended",
            Self::Certainty { .. } => "certainty",
            Self::ProofTakes { .. } => "proof-takes",
            Self::Stuck { .. } => "stuck",
            Self::OnlyQuestionsProve => "only-questions-prove",
            Self::CannotSend { .. } => "cannot-send",
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
            Self::Answered(AnswerTime { least, most }) => {
                [Some(("least", Time(least))), Some(("most", Time(most))), None]
            }
            Self::Reset { after } => [Some(("after", Time(after))), None, None],
            Self::HeardMeanwhile | Self::Gone | Self::Ended | Self::OnlyQuestionsProve => [None; 3],
            Self::Certainty { tries, loss } => [
                Some(("count", Count(tries.into()))),
                Some(("loss_permille", Count(loss.permille().into()))),
                Some(("false_once_in", Count(loss.odds(tries)))),
            ],
            Self::ProofTakes { tries, over } => {
                [Some(("count", Count(tries.into()))), Some(("over", Time(over))), None]
            }
            Self::Stuck { count, segment } => {
                [Some(("count", Count(count.into()))), Some(("segment", Bytes(segment.into()))), None]
            }
            Self::CannotSend { bytes } => [Some(("bytes", Bytes(bytes.into()))), None, None],
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
            Self::Answered(time) => match time.exact() {
                Some(after) => write!(f, "answered our question after {}", Span(after)),
                None => {
                    let (least, most) = (Span(time.least), Span(time.most));
                    write!(f, "answered one of our questions, after {least} to {most}")
                }
            },
            Self::HeardMeanwhile => f.write_str("sent something of its own while we asked"),
            Self::Reset { after } => {
                write!(f, "the connection was reset {} after our question", Span(after))
            }
            Self::Gone => f.write_str("closed by its owner while we looked"),
            Self::Ended => f.write_str(
                "the connection has ended; a timeout, an abort by this host, an orderly end and a reset that its \
                 owner was told of look the same",
            ),
            Self::Certainty { tries, loss } => {
                let (whole, tenth) = (loss.permille() / 10, loss.permille() % 10);
                write!(
                    f,
                    "a living peer stays silent that long once in {} times",
                    Grouped(loss.odds(tries))
                )?;
                match tenth {
                    0 => write!(f, ", with {whole} % independent loss each way"),
                    _ => write!(f, ", with {whole}.{tenth} % independent loss each way"),
                }
            }
            Self::ProofTakes { tries, over } => {
                write!(f, "proof takes {tries} unanswered tries over {}", Span(over))
            }
            Self::Stuck { count, segment } => write!(
                f,
                "the peer answers, and {count} retransmissions of segments of {segment} bytes were not acknowledged"
            ),
            Self::OnlyQuestionsProve => f.write_str(
                "a path that drops long segments looks the same, so does a receiver without room: only questions \
                 prove a death (--probe)",
            ),
            Self::CannotSend { bytes } => write!(
                f,
                "our own kernel can't send the {bytes} bytes that wait, though the peer's window is open (a \
                 firewall or a rule of this host, or its address was removed)"
            ),
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

/// Digits in groups of three.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000 => write!(f, "{}", self.0),
            number => write!(f, "{},{:03}", Grouped(number / 1_000), number % 1_000),
        }
    }
}
