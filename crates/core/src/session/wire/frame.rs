//! Frames and the heads of frames.

use alloc::vec::Vec;
use core::time::Duration;

use super::hello::Hello;
use super::{Bye, Malformed, Reason, Text};
use crate::stamp::millis;

pub(super) const HELLO: u8 = 1;
const BEAT: u8 = 2;
const PING: u8 = 3;
const PONG: u8 = 4;
const DATA: u8 = 5;
const END: u8 = 6;
const BYE: u8 = 7;
const WINDOW: u8 = 8;
const DRAIN: u8 = 9;
const RESET: u8 = 10;
/// Unknown frames of this kind and above are skipped.
const SKIPPED: u8 = 0x80;
/// The flag of a DATA frame whose message goes on in the next one.
const MORE: u8 = 1;

/// The bytes of a DATA frame before its content.
pub const DATA_HEAD: usize = 4;
/// The greatest content of a DATA frame, bytes.
pub const MOST_DATA: usize = 16 * 1024;

/// A whole frame, other than DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<'b> {
    /// The first frame of each side.
    Hello(Hello<'b>),
    /// A sign of life.
    Beat,
    /// A sign of life that asks for an answer.
    Ping {
        /// The answer carries the same token.
        token: u32,
    },
    /// The answer to a PING.
    Pong {
        /// The token of that PING.
        token: u32,
    },
    /// The sender sends no more DATA.
    End,
    /// The sender leaves.
    Bye(Bye),
    /// The receiver may send more DATA.
    Window {
        /// By so many bytes.
        credit: u32,
    },
    /// The receiver is asked to open another session.
    Drain {
        /// After this time.
        back_in: Duration,
    },
    /// The sender lost what is behind it.
    Reset(Reason),
}

/// What begins at the front of the bytes that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head<'b> {
    /// A whole frame.
    Frame(Frame<'b>),
    /// The head of a DATA frame; its content follows.
    Data {
        /// The length of the content in bytes.
        length: u16,
        /// The message goes on in the next DATA frame.
        more: bool,
    },
    /// The head of a frame that is to be skipped.
    Skip {
        /// The bytes that follow.
        length: u16,
    },
}

/// The head of a DATA frame with `length` bytes of content, at most [`MOST_DATA`].
pub const fn data_head(length: u16, more: bool) -> [u8; DATA_HEAD] {
    let [high, low] = length.to_be_bytes();
    [DATA, more as u8, high, low]
}

impl<'b> Head<'b> {
    /// Decodes the front of `bytes`, and says how many bytes that takes; `None` if the rest is still to come.
    ///
    /// # Errors
    /// [`Malformed`], as early as the bytes show it.
    pub fn decode(bytes: &'b [u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(&kind) = bytes.first() else { return Ok(None) };
        let number = || bytes.get(1..5).map(|n| u32::from_be_bytes([n[0], n[1], n[2], n[3]]));
        let frame = match kind {
            HELLO => return Ok(Hello::decode(bytes)?.map(|(hello, n)| (Self::Frame(Frame::Hello(hello)), n))),
            BEAT => Some((Frame::Beat, 1)),
            PING => number().map(|token| (Frame::Ping { token }, 5)),
            PONG => number().map(|token| (Frame::Pong { token }, 5)),
            DATA => return data(bytes),
            END => Some((Frame::End, 1)),
            BYE => bye(bytes)?,
            WINDOW => match number() {
                Some(0) => return Err(Malformed::Value { what: "a WINDOW without credit" }),
                credit => credit.map(|credit| (Frame::Window { credit }, 5)),
            },
            DRAIN => number().map(|ms| (Frame::Drain { back_in: Duration::from_millis(ms.into()) }, 5)),
            RESET => bytes.get(1).map(|&reason| (Frame::Reset(Reason::of(reason)), 2)),
            SKIPPED.. => {
                let length = bytes.get(1..3).map(|n| u16::from_be_bytes([n[0], n[1]]));
                return Ok(length.map(|length| (Self::Skip { length }, 3)));
            }
            unknown => return Err(Malformed::UnknownFrame(unknown)),
        };
        Ok(frame.map(|(frame, length)| (Self::Frame(frame), length)))
    }
}

fn data(bytes: &[u8]) -> Result<Option<(Head<'_>, usize)>, Malformed> {
    if bytes.get(1).is_some_and(|flags| flags & !MORE != 0) {
        return Err(Malformed::Value { what: "DATA with an unknown flag" });
    }
    let Some(&[_, flags, high, low]) = bytes.first_chunk::<DATA_HEAD>() else { return Ok(None) };
    let length = u16::from_be_bytes([high, low]);
    if usize::from(length) > MOST_DATA {
        return Err(Malformed::Value { what: "a DATA frame of more than 16,384 bytes" });
    }
    Ok(Some((Head::Data { length, more: flags == MORE }, DATA_HEAD)))
}

/// The bytes of a BYE before its text.
const BYE_HEAD: usize = 7;

fn bye(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let Some(&[_, reason, a, b, c, d, length]) = bytes.first_chunk::<BYE_HEAD>() else { return Ok(None) };
    let length = usize::from(length);
    if length > Text::LONGEST {
        return Err(Malformed::Value { what: "a BYE with a text of more than 64 bytes" });
    }
    let Some(text) = bytes.get(BYE_HEAD..BYE_HEAD + length) else { return Ok(None) };
    let Ok(text) = core::str::from_utf8(text) else {
        return Err(Malformed::Value { what: "a BYE with a text that is not UTF-8" });
    };
    let back_in = Duration::from_millis(u32::from_be_bytes([a, b, c, d]).into());
    let bye = Bye { reason: Reason::of(reason), back_in, text: Text::new(text) };
    Ok(Some((Frame::Bye(bye), BYE_HEAD + length)))
}

impl Frame<'_> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => hello.encode(out),
            Self::Beat => out.push(BEAT),
            Self::Ping { token } => with_number(out, PING, *token),
            Self::Pong { token } => with_number(out, PONG, *token),
            Self::End => out.push(END),
            Self::Bye(Bye { reason, back_in, text }) => {
                out.extend_from_slice(&[BYE, reason.number()]);
                out.extend_from_slice(&millis(*back_in).to_be_bytes());
                let text = text.as_str();
                out.push(text.len() as u8);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Window { credit } => with_number(out, WINDOW, *credit),
            Self::Drain { back_in } => with_number(out, DRAIN, millis(*back_in)),
            Self::Reset(reason) => out.extend_from_slice(&[RESET, reason.number()]),
        }
    }

    /// Its name in errors.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "a second HELLO",
            Self::Beat => "BEAT",
            Self::Ping { .. } => "PING",
            Self::Pong { .. } => "PONG",
            Self::End => "END",
            Self::Bye(_) => "BYE",
            Self::Window { .. } => "WINDOW",
            Self::Drain { .. } => "DRAIN",
            Self::Reset(_) => "RESET",
        }
    }
}

fn with_number(out: &mut Vec<u8>, kind: u8, number: u32) {
    out.push(kind);
    out.extend_from_slice(&number.to_be_bytes());
}
