//! Frames as bytes: docs/protocol.md.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::hello::Hello;

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;
/// Unless another limit was chosen, a message holds at most so many bytes.
pub const LIMIT: u32 = 64 * 1024;

pub(super) const HELLO: u8 = 1;
const BEAT: u8 = 2;
const PING: u8 = 3;
const PONG: u8 = 4;
const DATA: u8 = 5;
const END: u8 = 6;
const BYE: u8 = 7;
/// The bytes of a DATA frame before its message.
pub const DATA_HEADER: usize = 5;

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<'b> {
    /// The first frame of each side.
    Hello(Hello<'b>),
    /// A sign of life: 1 byte.
    Beat,
    /// A sign of life that asks for an answer: 5 bytes.
    Ping {
        /// Comes back in the answer.
        token: u32,
    },
    /// The answer to a ping: 5 bytes.
    Pong {
        /// That of the ping.
        token: u32,
    },
    /// A message.
    Data(&'b [u8]),
    /// This side sends no more messages, and goes on beating.
    End,
    /// This side leaves.
    Bye(Bye),
}

/// Why a side leaves, and when the other may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye {
    /// Why.
    pub reason: Reason,
    /// How long to wait before connecting again, to the millisecond; zero leaves it open.
    pub back_in: Duration,
}

/// Why a side leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It is done.
    Done,
    /// It restarts.
    Restarting,
    /// It has too many sessions, or too much to do.
    Overloaded,
    /// With what the other side offers, a death would go unnoticed for too long.
    TooSlow,
    /// The other side sent what it may not.
    Malformed,
    /// The other side is not who it has to be, or may not do what it did.
    Refused,
    /// What it carried the messages to, or from, was lost: they are not complete.
    Lost,
    /// A reason that this version does not know.
    Other(u8),
}

impl Reason {
    /// Its number in a BYE.
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Restarting => 1,
            Self::Overloaded => 2,
            Self::TooSlow => 3,
            Self::Malformed => 4,
            Self::Refused => 5,
            Self::Lost => 6,
            Self::Other(number) => number,
        }
    }

    /// The reason of a BYE with this number.
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Done,
            1 => Self::Restarting,
            2 => Self::Overloaded,
            3 => Self::TooSlow,
            4 => Self::Malformed,
            5 => Self::Refused,
            6 => Self::Lost,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Restarting => f.write_str("restarting"),
            Self::Overloaded => f.write_str("overloaded"),
            Self::TooSlow => f.write_str("the heartbeats offered are too slow"),
            Self::Malformed => f.write_str("protocol error"),
            Self::Refused => f.write_str("refused"),
            Self::Lost => f.write_str("the connection behind it was lost"),
            Self::Other(number) => write!(f, "reason {number}"),
        }
    }
}

/// Bytes that are not this protocol, or not allowed where they stand. The connection can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The first bytes are not a HELLO: somebody speaks another protocol.
    NotHello,
    /// A HELLO of a version that this side does not speak.
    Version(u8),
    /// A HELLO with a value that none may have.
    Hello {
        /// Which one.
        what: &'static str,
    },
    /// A message longer than the limit.
    TooLong {
        /// The bytes it was to have.
        length: u32,
        /// The most that it may have.
        limit: u32,
    },
    /// A kind of frame that there is not.
    UnknownFrame(u8),
    /// A frame where it may not stand.
    Unexpected {
        /// Its kind.
        frame: &'static str,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHello => f.write_str("the peer does not speak deadpeer's protocol"),
            Self::Version(theirs) => {
                write!(f, "the peer speaks version {theirs} of the protocol, this side {VERSION}")
            }
            Self::Hello { what } => write!(f, "the peer's HELLO has {what}"),
            Self::TooLong { length, limit } => {
                write!(f, "the peer announced a message of {length} bytes; the limit is {limit}")
            }
            Self::UnknownFrame(kind) => write!(f, "the peer sent a frame of the unknown kind {kind}"),
            Self::Unexpected { frame } => write!(f, "the peer sent {frame} where it may not"),
        }
    }
}

impl core::error::Error for Malformed {}

/// What [`Frame::decode_head`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head<'b> {
    /// A whole frame, never DATA.
    Frame(Frame<'b>),
    /// DATA: so many bytes of a message follow.
    Message {
        /// So many.
        length: u32,
    },
}

impl<'b> Frame<'b> {
    /// Takes one frame from the front of `bytes`, and says how many bytes it had; `None` where the rest of it
    /// is still to come. A message may have `limit` bytes.
    ///
    /// # Errors
    /// [`Malformed`], as early as the bytes show it.
    pub fn decode(bytes: &'b [u8], limit: u32) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(&kind) = bytes.first() else { return Ok(None) };
        let token =
            || bytes.get(1..5).map(|token| u32::from_be_bytes([token[0], token[1], token[2], token[3]]));
        Ok(match kind {
            HELLO => Hello::decode(bytes)?.map(|(hello, length)| (Self::Hello(hello), length)),
            BEAT => Some((Self::Beat, 1)),
            PING => token().map(|token| (Self::Ping { token }, 5)),
            PONG => token().map(|token| (Self::Pong { token }, 5)),
            DATA => match token() {
                Some(length) if length > limit => return Err(Malformed::TooLong { length, limit }),
                Some(length) => {
                    let end = DATA_HEADER + length as usize;
                    bytes.get(DATA_HEADER..end).map(|message| (Self::Data(message), end))
                }
                None => None,
            },
            END => Some((Self::End, 1)),
            BYE => bytes.get(1..6).map(|bye| {
                let millis = u32::from_be_bytes([bye[1], bye[2], bye[3], bye[4]]);
                let back_in = Duration::from_millis(millis.into());
                (Self::Bye(Bye { reason: Reason::of(bye[0]), back_in }), 6)
            }),
            other => return Err(Malformed::UnknownFrame(other)),
        })
    }

    /// As [`decode`](Self::decode), for those who hand a message on piece by piece and never hold it whole: the
    /// head of a DATA frame is taken by itself, as [`Head::Message`].
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_head(bytes: &'b [u8], limit: u32) -> Result<Option<(Head<'b>, usize)>, Malformed> {
        match bytes.first_chunk::<DATA_HEADER>() {
            Some([DATA, length @ ..]) => match u32::from_be_bytes(*length) {
                length if length > limit => Err(Malformed::TooLong { length, limit }),
                length => Ok(Some((Head::Message { length }, DATA_HEADER))),
            },
            _ => Ok(Self::decode(bytes, limit)?.map(|(frame, taken)| (Head::Frame(frame), taken))),
        }
    }

    /// The head of a DATA frame; as many bytes follow.
    pub const fn data_head(length: u32) -> [u8; DATA_HEADER] {
        let [a, b, c, d] = length.to_be_bytes();
        [DATA, a, b, c, d]
    }

    /// Appends the frame. A message must keep the peer's limit; [`Protocol::send`](super::Protocol::send)
    /// checks that.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => hello.encode(out),
            Self::Beat => out.push(BEAT),
            Self::Ping { token } => with_number(out, PING, *token),
            Self::Pong { token } => with_number(out, PONG, *token),
            Self::Data(message) => {
                with_number(out, DATA, u32::try_from(message.len()).unwrap_or(u32::MAX));
                out.extend_from_slice(message);
            }
            Self::End => out.push(END),
            Self::Bye(Bye { reason, back_in }) => {
                out.extend_from_slice(&[BYE, reason.number()]);
                out.extend_from_slice(&u32::try_from(back_in.as_millis()).unwrap_or(u32::MAX).to_be_bytes());
            }
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "a second HELLO",
            Self::Beat => "a BEAT",
            Self::Ping { .. } => "a PING",
            Self::Pong { .. } => "a PONG",
            Self::Data(_) => "DATA",
            Self::End => "an END",
            Self::Bye(_) => "a BYE",
        }
    }
}

fn with_number(out: &mut Vec<u8>, kind: u8, number: u32) {
    out.push(kind);
    out.extend_from_slice(&number.to_be_bytes());
}
