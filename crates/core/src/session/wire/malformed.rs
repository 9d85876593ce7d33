//! What a peer may not send.

use core::fmt;

use super::VERSION;

/// Bytes that are not this protocol, or that are not allowed where they stand. The session can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The first bytes are not a HELLO: the peer speaks another protocol. It is sent nothing.
    NotHello,
    /// The HELLO has a version that this side does not speak.
    Version(u8),
    /// The HELLO has a value that is out of range.
    Hello {
        /// Which value.
        what: &'static str,
    },
    /// The HELLO has an option that this side does not know and that the peer relies on.
    UnknownOption(u8),
    /// A kind of frame that does not exist.
    UnknownFrame(u8),
    /// A frame where it may not stand.
    Unexpected {
        /// Its kind.
        frame: &'static str,
    },
    /// A value in a frame is out of range.
    Value {
        /// Which value.
        what: &'static str,
    },
    /// A message that is longer than the receiver accepts.
    TooLong {
        /// The largest message that this side accepts, bytes.
        limit: u32,
    },
    /// DATA beyond the credit that this side had given.
    NoCredit,
    /// A frame that was begun and not completed within the detection time.
    Unfinished,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHello => f.write_str("the peer does not speak deadpeer's session protocol"),
            Self::Version(theirs) => {
                write!(f, "the peer speaks version {theirs} of the session protocol, this side {VERSION}")
            }
            Self::Hello { what } => write!(f, "the peer's HELLO has {what}"),
            Self::UnknownOption(option) => {
                write!(f, "the peer's HELLO has option {option}, which this version does not know")
            }
            Self::UnknownFrame(kind) => write!(f, "the peer sent a frame of the unknown kind {kind}"),
            Self::Unexpected { frame } => write!(f, "the peer sent {frame} where the protocol forbids it"),
            Self::Value { what } => write!(f, "the peer sent {what}"),
            Self::TooLong { limit } => {
                write!(f, "the peer sent a message of more than {limit} bytes, this side's limit")
            }
            Self::NoCredit => f.write_str("the peer sent more data than its credit allows"),
            Self::Unfinished => {
                f.write_str("the peer began a frame and did not complete it within the detection time")
            }
        }
    }
}

impl core::error::Error for Malformed {}
