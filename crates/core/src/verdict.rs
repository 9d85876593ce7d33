//! The verdict on a connection, with its cause and its evidence.

use core::fmt;
use core::str::FromStr;

use crate::evidence::Evidence;

macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$inner])* $variant,)* }

        impl $name {
            /// Every one, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The words, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];

            /// Its word in kebab case, stable.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word { $($word => Ok(Self::$variant),)* _ => Err(UnknownWord { known: Self::WORDS }) }
            }
        }
    };
}

/// A word that names nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    /// The words that do.
    pub known: &'static [&'static str],
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not one of ")?;
        for (n, word) in self.known.iter().enumerate() {
            write!(f, "{}{word}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownWord {}

words! {
    /// What is to be thought of a connection; the worst is last.
    Verdict {
        /// Heard from a moment ago, or answered our question. It proves the peer's kernel, not its application.
        Alive = "alive",
        /// On its way to its end, as TCP means it to be.
        Closing = "closing",
        /// Over. Its owner holds a socket that is connected to nothing.
        Ended = "ended",
        /// Not yet connected.
        Opening = "opening",
        /// Nothing wrong, nothing proven.
        Unverified = "unverified",
        /// The peer's kernel answers and nothing moves: a program does not read or does not accept, or large
        /// packets are lost.
        Stalled = "stalled",
        /// The peer has closed, the owner here has not, and nothing moves any more.
        Leaked = "leaked",
        /// Tries go unanswered; not yet proof, or our own way is in doubt.
        Suspect = "suspect",
        /// Silent to as many tries as prove it on this path, while our own way is up; or reset when asked.
        Dead = "dead",
    }
}

words! {
    /// Why the verdict is what it is.
    Cause {
        /// The peer was heard a moment ago.
        Heard = "heard",
        /// The peer answered our question.
        Answered = "answered",
        /// Nobody has tried anything.
        NothingProven = "nothing-proven",
        /// Our questions went unanswered.
        QuestionsUnanswered = "questions-unanswered",
        /// Retransmissions went unanswered.
        RetransmissionsUnanswered = "retransmissions-unanswered",
        /// The socket's own keepalive probes went unanswered.
        KeepaliveUnanswered = "keepalive-unanswered",
        /// Probes of the shut window went unanswered.
        WindowProbesUnanswered = "window-probes-unanswered",
        /// Silence, but our own way to the peer is broken or in doubt.
        LocalPath = "local-path",
        /// The peer's host answered with a reset.
        Reset = "reset",
        /// The peer's window stays shut.
        ShutWindow = "shut-window",
        /// The peer answers, and does not acknowledge segments of this size: they are lost on the way, and so is
        /// the ICMP message that would say so (RFC 2923, 2.1).
        MtuBlackHole = "mtu-black-hole",
        /// Our own program does not read.
        UnreadQueue = "unread-queue",
        /// Our own program does not accept.
        AcceptQueue = "accept-queue",
        /// The peer has closed.
        PeerClosed = "peer-closed",
        /// This side has closed, or both have.
        ClosedHere = "closed-here",
        /// The connection has ended, and its owner has taken the reason from the socket.
        Unknown = "unknown",
        /// The handshake is under way.
        Connecting = "connecting",
        /// It waits for connections.
        Listening = "listening",
    }
}

/// A verdict with its cause and its evidence. Only [`judge`](crate::judge()) makes one, so there is always at
/// least one piece of evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    verdict: Verdict,
    cause: Cause,
    /// Inline: one of these stands in every row of a scan.
    first: Evidence,
    more: [Option<Evidence>; 3],
}

impl Judgement {
    pub(crate) const fn new(verdict: Verdict, cause: Cause, first: Evidence) -> Self {
        Self { verdict, cause, first, more: [None; 3] }
    }

    /// Adds evidence, as long as there is room; what comes later weighs less.
    pub(crate) fn and(mut self, evidence: Option<Evidence>) -> Self {
        if let (Some(evidence), Some(place)) = (evidence, self.more.iter_mut().find(|place| place.is_none()))
        {
            *place = Some(evidence);
        }
        self
    }

    /// The verdict.
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Its cause.
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// Its evidence, the weightiest first; never empty.
    pub fn evidence(&self) -> impl Iterator<Item = &Evidence> {
        core::iter::once(&self.first).chain(self.more.iter().flatten())
    }
}
