//! What the blocking and the tokio session have in common: the protocol with its buffers.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use deadpeer_core::protocol::{Bye, Config, Event, Malformed, NotSent, Protocol, Reason};
use deadpeer_core::{Instant, Timing};

use super::clock;
use crate::guard::{Loss, Mechanism, PeerLost};

/// A wake-up that is this much later than its time was a pause of our own: the process was stopped, or
/// starved.
const PAUSE: Duration = Duration::from_millis(500);
/// Beats wait to be written behind so few bytes only.
const FEW: usize = 64;
/// What one read takes.
pub(super) const READ: usize = 16 * 1024;
/// The program's messages wait for room while so many bytes are not yet written.
const UNWRITTEN: usize = 256 * 1024;

/// What the session tells its program.
#[derive(Debug)]
pub(super) enum Told {
    Message(Vec<u8>),
    End,
    Bye(Bye),
}

/// What was agreed with the peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub id: String,
    pub timing: Timing,
    pub limit: u32,
}

#[derive(Debug)]
pub(super) struct Engine {
    protocol: Protocol,
    incoming: Vec<u8>,
    outgoing: VecDeque<u8>,
    /// The program takes no more messages: nothing is read, so nothing can be heard.
    full: bool,
    limit: u32,
    pub rtt: Option<Duration>,
    pub peer: Option<Peer>,
}

impl Engine {
    pub(super) fn new(config: Config, id: &str) -> Self {
        let mut hello = Vec::new();
        let protocol = Protocol::open(config, id, clock::seed(), clock::now(), &mut hello);
        Self {
            protocol,
            incoming: Vec::new(),
            outgoing: hello.into(),
            full: false,
            limit: config.limit,
            rtt: None,
            peer: None,
        }
    }

    /// Where the next read goes.
    pub(super) fn arrived(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// What the bytes that arrived mean, one after the other.
    ///
    /// # Errors
    /// `InvalidData` for a peer that does not keep to the protocol; `TimedOut` for one that beats too slowly.
    /// A BYE that says so stands in the outgoing bytes.
    pub(super) fn next(&mut self) -> io::Result<Option<Told>> {
        loop {
            let (taken, told) = self.step()?;
            if taken == 0 || told.is_some() {
                return Ok(told);
            }
        }
    }

    /// The first frame, the peer's HELLO, if it has arrived; then [`Engine::peer`] is known.
    ///
    /// # Errors
    /// As [`Engine::next`].
    pub(super) fn greeted(&mut self) -> io::Result<()> {
        self.step().map(drop)
    }

    /// Takes one frame.
    fn step(&mut self) -> io::Result<(usize, Option<Told>)> {
        let now = clock::now();
        let (taken, event) = match self.protocol.handle_input(&self.incoming, now) {
            Ok(input) => input,
            Err(malformed) => return Err(self.refuse(malformed, now)),
        };
        let told = match event {
            Some(Event::Data(message)) => Some(Told::Message(message.to_vec())),
            Some(Event::End) => Some(Told::End),
            Some(Event::Bye(bye)) => Some(Told::Bye(bye)),
            Some(Event::RoundTrip(rtt)) => {
                self.rtt = Some(rtt);
                None
            }
            Some(Event::Up { timing, id }) => {
                self.peer = Some(Peer { id: id.to_owned(), timing, limit: self.limit });
                None
            }
            Some(Event::TooSlow(error)) => {
                self.bye(Reason::TooSlow, Duration::ZERO);
                return Err(io::Error::new(io::ErrorKind::TimedOut, error));
            }
            _ => None,
        };
        // Frames are small next to what a read takes, so what is left to move is little.
        self.incoming.drain(..taken);
        Ok((taken, told))
    }

    fn refuse(&mut self, malformed: Malformed, now: Instant) -> io::Error {
        let mut bytes = Vec::new();
        // To somebody who speaks another protocol nothing is said.
        if malformed != Malformed::NotHello {
            self.protocol.bye(Bye { reason: Reason::Malformed, back_in: Duration::ZERO }, now, &mut bytes);
        }
        self.outgoing.extend(bytes);
        io::Error::new(io::ErrorKind::InvalidData, malformed)
    }

    /// Does what is due.
    ///
    /// # Errors
    /// A [`PeerLost`] when the peer's beats have stopped.
    pub(super) fn tick(&mut self) -> io::Result<()> {
        let now = clock::now();
        let late = now.since(self.protocol.deadline());
        if late >= PAUSE {
            self.protocol.handle_pause(now, late);
        }
        if self.full {
            self.protocol.handle_deaf(now);
        }
        let mut bytes = Vec::new();
        if let Some(Event::Lost { silent }) = self.protocol.poll(now, &mut bytes) {
            let mut lost = PeerLost::new(Loss::HeartbeatMissed, Mechanism::Heartbeat);
            lost.silent = Some(silent);
            return Err(lost.into());
        }
        // What waits to be written is a sign of life itself: beats must not pile up behind it.
        if self.outgoing.len() < FEW {
            self.outgoing.extend(bytes);
        }
        Ok(())
    }

    pub(super) fn deadline(&self) -> Instant {
        self.protocol.deadline()
    }

    /// The program takes messages, or does not: while nothing is read, silence proves nothing.
    pub(super) fn set_full(&mut self, full: bool) {
        if self.full && !full {
            self.protocol.handle_deaf(clock::now());
        }
        self.full = full;
    }

    /// Whether the program's next message finds room.
    pub(super) fn has_room(&self) -> bool {
        self.outgoing.len() < UNWRITTEN
    }

    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), NotSent> {
        let mut bytes = Vec::with_capacity(message.len() + deadpeer_core::protocol::DATA_HEADER);
        self.protocol.send(message, clock::now(), &mut bytes)?;
        self.outgoing.extend(bytes);
        Ok(())
    }

    pub(super) fn end(&mut self) {
        let mut bytes = Vec::new();
        self.protocol.end(clock::now(), &mut bytes);
        self.outgoing.extend(bytes);
    }

    pub(super) fn bye(&mut self, reason: Reason, back_in: Duration) {
        let mut bytes = Vec::new();
        self.protocol.bye(Bye { reason, back_in }, clock::now(), &mut bytes);
        self.outgoing.extend(bytes);
    }

    /// What is to be written.
    pub(super) fn unwritten(&self) -> &[u8] {
        self.outgoing.as_slices().0
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        self.outgoing.drain(..bytes);
    }

    pub(super) fn is_up(&self) -> bool {
        self.protocol.is_up()
    }

    pub(super) fn is_over(&self) -> bool {
        self.protocol.is_over()
    }
}

/// The end of the stream without a goodbye.
pub(super) fn closed() -> io::Error {
    PeerLost::new(Loss::Closed, Mechanism::EndOfFile).into()
}

/// Why a session failed, to be told again and again.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: io::ErrorKind,
    lost: Option<PeerLost>,
    text: String,
}

impl Failure {
    pub(super) fn of(error: &io::Error) -> Self {
        Self { kind: error.kind(), lost: PeerLost::of(error).cloned(), text: error.to_string() }
    }

    pub(super) fn to_error(&self) -> io::Error {
        match &self.lost {
            Some(lost) => io::Error::new(self.kind, lost.clone()),
            None => io::Error::new(self.kind, self.text.clone()),
        }
    }
}
