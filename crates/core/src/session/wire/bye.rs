//! Why a side leaves.

use core::fmt;
use core::time::Duration;

/// A goodbye: why a side leaves, and when the other side may come back.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::session::{Bye, Reason};
///
/// let bye = Bye::new(Reason::Restarting).back_in(Duration::from_secs(30)).text("kernel update");
/// assert_eq!(bye.to_string(), "restarting, back in 30 s: kernel update");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye {
    /// Why the side leaves.
    pub reason: Reason,
    /// How long the receiver is asked to wait before it connects again, to the millisecond, at most 49 days. Zero leaves it open.
    pub back_in: Duration,
    /// A sentence for the operator of the other side.
    pub text: Text,
}

impl Bye {
    /// A goodbye with nothing but its reason.
    pub const fn new(reason: Reason) -> Self {
        Self { reason, back_in: Duration::ZERO, text: Text::EMPTY }
    }

    /// The same, asking the receiver to stay away for `back_in`.
    #[must_use]
    pub const fn back_in(self, back_in: Duration) -> Self {
        Self { back_in, ..self }
    }

    /// The same with a text, which is cut to [`Text::LONGEST`] bytes.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        Self { text: Text::new(text), ..self }
    }
}

impl fmt::Display for Bye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        if !self.back_in.is_zero() {
            write!(f, ", back in {}", crate::text::Span(self.back_in))?;
        }
        if !self.text.as_str().is_empty() {
            write!(f, ": {}", self.text.as_str())?;
        }
        Ok(())
    }
}

/// A text of at most 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text {
    length: u8,
    bytes: [u8; Self::LONGEST],
}

impl Text {
    /// The greatest length in bytes.
    pub const LONGEST: usize = 64;
    /// No text.
    pub const EMPTY: Self = Self { length: 0, bytes: [0; Self::LONGEST] };

    /// Takes `text`, cut to [`Text::LONGEST`] bytes at a character's boundary. Control characters become spaces, so
    /// that a peer can't steer a terminal.
    pub fn new(text: &str) -> Self {
        let mut kept = Self::EMPTY;
        for character in text.chars() {
            let character = if character.is_control() { ' ' } else { character };
            let start = usize::from(kept.length);
            let end = start + character.len_utf8();
            let Some(place) = kept.bytes.get_mut(start..end) else { break };
            character.encode_utf8(place);
            kept.length = end as u8;
        }
        kept
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // `new` stores whole characters only.
        core::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
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
    /// With the heartbeats that the other side offers, a death would go unnoticed for too long.
    TooSlow,
    /// The other side broke the protocol.
    Malformed,
    /// It refuses the other side.
    Refused,
    /// The connection or the program behind it was lost: what it sent is not complete.
    Lost,
    /// A newer session of the same name replaces this one.
    Replaced,
    /// The other side did not prove who it is, or may not do what it asked for.
    Unauthorised,
    /// It does not know the target that the other side asked for.
    UnknownTarget,
    /// A reason that this version does not know.
    Other(u8),
}

impl Reason {
    /// Its number in a frame.
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Restarting => 1,
            Self::Overloaded => 2,
            Self::TooSlow => 3,
            Self::Malformed => 4,
            Self::Refused => 5,
            Self::Lost => 6,
            Self::Replaced => 7,
            Self::Unauthorised => 8,
            Self::UnknownTarget => 9,
            Self::Other(number) => number,
        }
    }

    /// The reason with this number.
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Done,
            1 => Self::Restarting,
            2 => Self::Overloaded,
            3 => Self::TooSlow,
            4 => Self::Malformed,
            5 => Self::Refused,
            6 => Self::Lost,
            7 => Self::Replaced,
            8 => Self::Unauthorised,
            9 => Self::UnknownTarget,
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
            Self::Replaced => f.write_str("replaced by a newer session"),
            Self::Unauthorised => f.write_str("not authorised"),
            Self::UnknownTarget => f.write_str("unknown target"),
            Self::Other(number) => write!(f, "reason {number}"),
        }
    }
}
