//! Which frame may come when.

use super::frame::{Frame, HELLO, Malformed};

/// The order of a session's frames, without its times and without a buffer: four bytes.
///
/// [`Protocol`](super::Protocol) adds a [`Heartbeat`](crate::Heartbeat) to it. A server that holds many
/// sessions keeps one of these for each, and watches all of them with a [`Roster`](crate::Roster).
///
/// ```text
///   new ──▶ Greeting ──agree──▶ Up ──leave, or the peer's BYE──▶ Leaving ──the other of both──▶ Over
/// ```
///
/// ```
/// use deadpeer_core::protocol::{Dialogue, Frame, Hello, Malformed, Offer};
/// # use core::time::Duration;
/// # let policy = deadpeer_core::Policy::detect(Duration::from_secs(9)).build()?;
/// # let hello = Hello { offer: Offer::keeping(&policy)?, id: "pi" };
///
/// let mut dialogue = Dialogue::new();
/// assert_eq!(dialogue.admit(&Frame::Beat), Err(Malformed::NotHello));
/// dialogue.admit(&Frame::Hello(hello))?;
/// dialogue.agree(); // the offers suit each other
/// dialogue.admit(&Frame::Data(b"hi"))?;
/// dialogue.admit(&Frame::End)?;
/// assert!(dialogue.admit(&Frame::Data(b"more")).is_err());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Dialogue {
    state: State,
    beats: u8,
    /// Whether this side has ended, and the peer has.
    ended: bool,
    peer_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    /// The peer's HELLO is still to come.
    #[default]
    Greeting,
    Up,
    /// One side said BYE.
    Leaving,
    /// Lost, or left by both.
    Over,
}

impl Dialogue {
    /// One in which nobody has spoken yet.
    pub const fn new() -> Self {
        Self { state: State::Greeting, beats: 0, ended: false, peer_ended: false }
    }

    /// Looks at the first byte of what will be the peer's next frame: of somebody who speaks another protocol it
    /// tells enough.
    ///
    /// # Errors
    /// [`Malformed::NotHello`].
    pub const fn expect(&self, kind: u8) -> Result<(), Malformed> {
        if self.is_greeting() && kind != HELLO { Err(Malformed::NotHello) } else { Ok(()) }
    }

    /// Takes a frame of the peer's. After a HELLO say whether its offer suits: [`agree`](Self::agree) or
    /// [`leave`](Self::leave).
    ///
    /// # Errors
    /// [`Malformed`] where the frame may not stand here: the session can't go on.
    pub const fn admit(&mut self, frame: &Frame<'_>) -> Result<(), Malformed> {
        match (self.state, frame) {
            (State::Greeting, Frame::Hello(_)) => Ok(()),
            (State::Greeting, _) => Err(Malformed::NotHello),
            (_, Frame::Hello(_)) => Err(Malformed::Unexpected { frame: frame.name() }),
            (_, Frame::Data(_) | Frame::End) if self.peer_ended => {
                Err(Malformed::Unexpected { frame: frame.name() })
            }
            (_, Frame::End) => {
                self.peer_ended = true;
                Ok(())
            }
            (_, Frame::Bye(_)) => {
                self.peer_ended = true;
                self.part();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The peer's HELLO came, and its offer suits.
    pub const fn agree(&mut self) {
        self.state = State::Up;
    }

    /// This side says BYE. Says whether it may: not in a session that is over.
    pub const fn leave(&mut self) -> bool {
        let may = !self.is_over();
        if may {
            self.ended = true;
            self.part();
        }
        may
    }

    /// The second BYE of the two ends it.
    const fn part(&mut self) {
        self.state = match self.state {
            State::Greeting | State::Up => State::Leaving,
            State::Leaving | State::Over => State::Over,
        };
    }

    /// This side sends no more messages. Says whether that is to be said: not twice.
    pub const fn end(&mut self) -> bool {
        let may = self.is_up() && !self.ended;
        if may {
            self.ended = true;
        }
        may
    }

    /// The peer was lost.
    pub const fn lose(&mut self) {
        self.state = State::Over;
    }

    /// The next beat: a PING with `token` where its turn has come (each `measure_every`-th, 0 for none), else
    /// a BEAT. Before the peer's HELLO and after a BYE nothing is owed.
    pub const fn beat(&mut self, measure_every: u8, token: u32) -> Option<Frame<'static>> {
        if !self.is_up() {
            return None;
        }
        let measure = measure_every != 0 && self.beats.is_multiple_of(measure_every);
        self.beats = if measure_every == 0 { 0 } else { (self.beats + 1) % measure_every };
        Some(if measure { Frame::Ping { token } } else { Frame::Beat })
    }

    /// Whether the peer's HELLO is still to come.
    pub const fn is_greeting(&self) -> bool {
        matches!(self.state, State::Greeting)
    }

    /// Whether the two have agreed and neither has left.
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// Whether nothing more will come and nothing more may be said.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether this side has said that it sends no more messages.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the peer has.
    pub const fn peer_has_ended(&self) -> bool {
        self.peer_ended
    }
}
