//! A carried connection: a plain connection of a program, joined to a session, as a state machine.
//!
//! It knows no socket, no bytes and no clock: events go in, and what is to be done comes out. Two of them, one at each end
//! of the session, carry one connection:
//!
//! ```text
//!   program ◀─plain─▶ Carried ◀─session─▶ Carried ◀─plain─▶ program
//!
//!   up:    bytes from the plain connection to the session        Open ──▶ Ended (END is said)
//!   down:  bytes from the session to the plain connection        Open ──▶ Ending (END came) ──▶ Ended (FIN after the queue)
//!
//!   Dialing ──▶ Carrying ──both directions ended──▶ Parting (BYE is said) ──the peer's BYE──▶ Gone
//! ```
//!
//! | event | Dialing | Carrying | Parting |
//! |---|---|---|---|
//! | end of file of the plain side | – | END | – |
//! | the plain side is lost | RESET, Gone | RESET, Gone, in any half state | – |
//! | DATA | queue | queue | protocol error |
//! | END | Ending | FIN after the queue | protocol error |
//! | RESET, the session is lost | abort the plain side, Gone | the same | the same |
//! | BYE | abort, Gone | abort, Gone; but if both said END: BYE and Gone after the queue | Gone |
//! | dialled, not dialled | Carrying; RESET, Gone | – | – |
//! | the stop deadline | RESET, abort, Gone | the same | Gone |
//!
//! What holds, numbered for the tests:
//!
//! 1. What a program receives is a prefix of what the other one sent.
//! 2. A program sees an end of file only after everything that the other one sent before its own.
//! 3. A reset of one program's connection reaches the other one's as soon as the session has carried it.
//! 4. There is no timer: a slow reader takes as long as it takes. Only a loss or the stop deadline ends it early.
//! 5. It ends once, with one cause.

#[cfg(test)]
mod tests;

use crate::session::{Bye, Reason};

/// One end of a carried connection. See the [module's](self) table and rules.
///
/// ```
/// use deadpeer_core::carried::{Carried, End, Todo};
///
/// // The program sends 5 bytes and closes; nothing comes back but the other program's end of file.
/// let mut carried = Carried::joined();
/// assert_eq!(carried.handle_plain_end(), Todo { end: true, ..Todo::NOTHING });
/// assert_eq!(carried.handle_end(), Todo { shut: true, bye: true, ..Todo::NOTHING });
/// assert_eq!(carried.handle_bye(), Todo { over: Some(End::Done), ..Todo::NOTHING });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    phase: Phase,
    up: Way,
    down: Way,
    /// Bytes that wait for the plain side.
    queued: u32,
    /// The peer said BYE while bytes still waited for the plain side.
    peer_left: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Dialing,
    Carrying,
    Parting,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    Ending,
    Ended,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Todo {
    /// Say END, after the data.
    pub end: bool,
    /// Shut down the plain side's direction to the program: it sees an end of file.
    pub shut: bool,
    /// Say BYE, after everything else.
    pub bye: bool,
    /// Say RESET, before everything else, and drop the data that waits for the session.
    pub reset: Option<Reason>,
    /// Close the plain connection with a reset, and drop what waits for it.
    pub abort: bool,
    /// It is over: close both.
    pub over: Option<End>,
}

impl Todo {
    /// Nothing is to be done.
    pub const NOTHING: Self =
        Self { end: false, shut: false, bye: false, reset: None, abort: false, over: None };
}

/// How a carried connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Both programs have sent everything and closed.
    Done,
    /// This end's program, or its connection, was lost or could not be reached.
    PlainLost,
    /// The other end lost its program, or the connection to it.
    PeerReset(Reason),
    /// The other end left before everything was carried.
    PeerLeft,
    /// The session was lost.
    SessionLost,
    /// The deadline of a stop came before everything was carried.
    Stopped,
}

impl Carried {
    /// With a plain connection that is there already.
    pub const fn joined() -> Self {
        Self { phase: Phase::Carrying, up: Way::Open, down: Way::Open, queued: 0, peer_left: false }
    }

    /// With one that is still to be made.
    pub const fn dialing() -> Self {
        Self { phase: Phase::Dialing, ..Self::joined() }
    }

    /// The plain connection was made: what waits for it can be written.
    pub const fn handle_dialed(&mut self) -> Todo {
        if matches!(self.phase, Phase::Dialing) {
            self.phase = Phase::Carrying;
        }
        self.proceed()
    }

    /// The plain connection was reset, timed out, or could not be made.
    pub const fn handle_plain_lost(&mut self) -> Todo {
        match self.phase {
            // Both ends of file have crossed: nothing is missing.
            Phase::Parting | Phase::Gone => Todo::NOTHING,
            Phase::Dialing | Phase::Carrying => self.over(End::PlainLost, Some(Reason::Lost)),
        }
    }

    /// The end of file of the plain side, after everything that was read from it.
    pub const fn handle_plain_end(&mut self) -> Todo {
        if !self.may_read_plain() {
            return Todo::NOTHING;
        }
        self.up = Way::Ended;
        let todo = self.proceed();
        Todo { end: true, ..todo }
    }

    /// DATA came with so many bytes; they wait for the plain side until [`handle_taken`](Self::handle_taken).
    pub const fn handle_data(&mut self, bytes: u32) {
        self.queued = self.queued.saturating_add(bytes);
    }

    /// The plain side took so many of the bytes that wait.
    pub const fn handle_taken(&mut self, bytes: u32) -> Todo {
        self.queued = self.queued.saturating_sub(bytes);
        self.proceed()
    }

    /// END came.
    pub const fn handle_end(&mut self) -> Todo {
        if matches!(self.down, Way::Open) {
            self.down = Way::Ending;
        }
        self.proceed()
    }

    /// RESET came.
    pub const fn handle_reset(&mut self, reason: Reason) -> Todo {
        self.over(End::PeerReset(reason), None)
    }

    /// BYE came.
    pub const fn handle_bye(&mut self) -> Todo {
        match (self.phase, self.up, self.down) {
            (Phase::Parting, ..) => self.over(End::Done, None),
            // The peer has everything, and so will the program here.
            (Phase::Carrying, Way::Ended, Way::Ending | Way::Ended) => {
                self.peer_left = true;
                self.proceed()
            }
            _ => {
                let todo = self.over(End::PeerLeft, None);
                Todo { bye: todo.over.is_some(), ..todo }
            }
        }
    }

    /// The session was lost.
    pub const fn handle_session_lost(&mut self) -> Todo {
        self.over(End::SessionLost, None)
    }

    /// The deadline of a stop has come.
    pub const fn handle_deadline(&mut self) -> Todo {
        match self.phase {
            Phase::Parting => self.over(End::Done, None),
            _ => self.over(End::Stopped, Some(Reason::Restarting)),
        }
    }

    /// Whether the plain side is to be read: there is a direction to carry. The session's credit and queue say how much.
    pub const fn may_read_plain(&self) -> bool {
        matches!((self.phase, self.up), (Phase::Carrying, Way::Open))
    }

    /// Whether bytes may be written to the plain side.
    pub const fn may_write_plain(&self) -> bool {
        matches!(self.phase, Phase::Carrying)
    }

    /// The bytes that wait for the plain side.
    pub const fn queued(&self) -> u32 {
        self.queued
    }

    /// Whether it has ended.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    /// What follows once the queue is empty.
    const fn proceed(&mut self) -> Todo {
        let mut todo = Todo::NOTHING;
        if !matches!(self.phase, Phase::Carrying) || self.queued > 0 {
            return todo;
        }
        if matches!(self.down, Way::Ending) {
            self.down = Way::Ended;
            todo.shut = true;
        }
        if matches!((self.up, self.down), (Way::Ended, Way::Ended)) {
            self.phase = Phase::Parting;
            todo.bye = true;
            if self.peer_left {
                self.phase = Phase::Gone;
                todo.over = Some(End::Done);
            }
        }
        todo
    }

    const fn over(&mut self, end: End, reset: Option<Reason>) -> Todo {
        if matches!(self.phase, Phase::Gone) {
            return Todo::NOTHING;
        }
        let abort = !matches!(self.phase, Phase::Parting);
        self.phase = Phase::Gone;
        self.queued = 0;
        Todo { reset, abort, over: Some(end), ..Todo::NOTHING }
    }
}

/// The goodbye of a carried connection that is complete.
pub const GOODBYE: Bye = Bye::new(Reason::Done);
