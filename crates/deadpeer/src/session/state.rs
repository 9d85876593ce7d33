//! What the handles of a session and whoever drives its stream share, blocking or tokio.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use deadpeer_core::Instant;
use deadpeer_core::session::{Bye, Failure, Happened, Incoming, NotSent, Peer, Reason, Role, Single};
use deadpeer_os::BorrowedSock;
use deadpeer_os::current::stream;

use super::{Config, clock};
use crate::guard::{Loss, Mechanism, PeerLost};

/// A wake-up that is this much later than its time was a pause of this process: it was stopped, or starved.
const PAUSE: Duration = Duration::from_millis(500);
/// A message is queued while fewer bytes than this wait to be written.
const QUEUE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct State {
    pub single: Single,
    /// How it ended: with an error, or by a goodbye.
    pub over: Option<Option<Box<Ended>>>,
    pub senders: usize,
    pub receiving: bool,
    /// The program said goodbye, or dropped all handles.
    left: bool,
    /// The program was told that no more messages come.
    finished: bool,
    /// What the stream's owner is to be told when it writes: the time by which it should have been woken.
    wakes_at: Instant,
}

/// Why a session ended, to be told again and again.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    kind: io::ErrorKind,
    lost: Option<PeerLost>,
    text: String,
}

impl Ended {
    fn to_error(&self) -> io::Error {
        match &self.lost {
            Some(lost) => io::Error::new(self.kind, lost.clone()),
            None => io::Error::new(self.kind, self.text.clone()),
        }
    }
}

impl State {
    pub(super) fn new(role: Role, config: &Config) -> Self {
        let now = clock::now();
        let single = Single::new(role, config.terms, &config.id, &config.token, clock::seed(), now);
        Self {
            single,
            over: None,
            senders: 1,
            receiving: true,
            left: false,
            finished: false,
            wakes_at: Instant::NEVER,
        }
    }

    // ---- for the program ----

    /// Whether a message can be queued, or the session is over.
    pub(super) fn has_room(&self) -> bool {
        self.over.is_some() || self.single.queued() < QUEUE
    }

    /// Whether everything that was queued is written, or the session is over.
    pub(super) fn is_flushed(&self) -> bool {
        self.over.is_some() || self.single.is_flushed()
    }

    /// Whether the peer takes a message of this length.
    pub(super) fn may_send(&self, length: usize) -> io::Result<()> {
        if self.over.is_some() {
            return Err(self.error().unwrap_or_else(closed));
        }
        self.single.may_send(length).map_err(|not_sent| {
            let kind = match not_sent {
                NotSent::TooLong { .. } | NotSent::NotTaken => io::ErrorKind::InvalidInput,
                NotSent::NotUp => io::ErrorKind::NotConnected,
                _ => io::ErrorKind::BrokenPipe,
            };
            io::Error::new(kind, not_sent)
        })
    }

    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.may_send(message.len())?;
        self.single.send(message).map_err(|not_sent| io::Error::new(io::ErrorKind::InvalidInput, not_sent))
    }

    /// The next message, or the end of them, if there is one.
    pub(super) fn receive(&mut self) -> Option<io::Result<Option<Vec<u8>>>> {
        while !self.finished
            && let Some(told) = self.single.next()
        {
            match told {
                Incoming::Message(message) => return Some(Ok(Some(message))),
                Incoming::End | Incoming::Bye(_) => self.finished = true,
                _ => {}
            }
        }
        match (self.finished, &self.over) {
            (true, _) => Some(Ok(None)),
            (false, Some(ended)) => Some(ended.as_ref().map_or(Ok(None), |ended| Err(ended.to_error()))),
            (false, None) => None,
        }
    }

    pub(super) fn error(&self) -> Option<io::Error> {
        self.over.as_ref()?.as_ref().map(|ended| ended.to_error())
    }

    pub(super) fn bye(&mut self, bye: Bye) {
        self.left = true;
        self.single.bye(bye);
    }

    /// A sender was dropped: the last one ends this side's messages.
    pub(super) fn drop_sender(&mut self) {
        self.senders -= 1;
        if self.senders == 0 {
            self.single.end();
            self.leave_if_unused();
        }
    }

    /// The receiver was dropped.
    pub(super) fn drop_receiver(&mut self) {
        self.receiving = false;
        self.leave_if_unused();
    }

    fn leave_if_unused(&mut self) {
        if self.senders == 0 && !self.receiving {
            self.bye(Bye::new(Reason::Done));
        }
    }

    pub(super) fn events(&self) -> Vec<Happened> {
        self.single.history().events(clock::now()).collect()
    }

    pub(super) fn peer(&self) -> io::Result<Arc<Peer>> {
        self.single.peer().cloned().ok_or_else(closed)
    }

    // ---- for the owner of the stream ----

    /// Does what time demands. `socket` is asked when bytes last arrived before the peer is called silent.
    ///
    /// # Errors
    /// Why the session can't go on.
    pub(super) fn tick(&mut self, socket: Option<BorrowedSock<'_>>) -> io::Result<()> {
        let now = clock::now();
        let late = now.since(self.wakes_at);
        if late >= PAUSE {
            self.single.handle_pause(late, now);
        }
        if self.single.is_silent(now)
            && let Some(ago) = socket.and_then(last_arrival)
            && ago < self.single.patience()
        {
            // TLS has not passed them on: they complete no record.
            self.single.bytes_arrived(now.before(ago));
        }
        let polled = self.single.poll(now);
        if !self.receiving {
            while self.single.next().is_some() {}
        }
        polled.map_err(|failure| self.explain(failure, socket))
    }

    /// Takes what arrived.
    ///
    /// # Errors
    /// As [`tick`](Self::tick).
    pub(super) fn arrived(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = clock::now();
        self.single.bytes_arrived(now);
        self.single.input(bytes, now).map_err(|failure| self.explain(failure, None))
    }

    /// The stream failed with `error`. What the peer said before counts more: a reset of the session, or a goodbye.
    ///
    /// # Errors
    /// As [`ended`](Self::ended), else `error`.
    pub(super) fn failed(&mut self, error: io::Error) -> io::Result<()> {
        let session = self.single.session();
        if session.is_over() || session.peer_has_left() { self.ended() } else { Err(error) }
    }

    /// The stream ended.
    ///
    /// # Errors
    /// Unless by a goodbye.
    pub(super) fn ended(&mut self) -> io::Result<()> {
        let session = self.single.session();
        let orderly = session.is_over() || session.peer_has_left();
        let reset = self.reset();
        self.single.handle_closed(clock::now());
        match reset {
            Some(error) => Err(error),
            None if orderly => Ok(()),
            None => Err(closed()),
        }
    }

    /// Whether nothing more is to be written or read.
    ///
    /// # Errors
    /// If the peer reset the session.
    pub(super) fn is_over(&mut self) -> io::Result<bool> {
        let over = self.single.session().is_over() && self.single.output(clock::now()).is_empty();
        match self.reset() {
            Some(error) if over => Err(error),
            _ => Ok(over),
        }
    }

    fn reset(&self) -> Option<io::Error> {
        let reason = self.single.reset_reason()?;
        let text = format!("the peer reset the session: {reason}");
        Some(io::Error::new(io::ErrorKind::ConnectionAborted, text))
    }

    /// When to come back if nothing arrives before. Remembered: who comes much later has not run.
    pub(super) fn deadline(&mut self) -> Instant {
        self.wakes_at = self.single.deadline(clock::now());
        self.wakes_at
    }

    /// Records how it ended. After this side's goodbye nobody is missed.
    pub(super) fn finish(&mut self, ended: io::Result<()>) {
        let missed = !self.left || self.single.reset_reason().is_some();
        let ended = ended.err().filter(|_| missed).map(|error| {
            self.single.handle_closed(clock::now());
            let mut lost = PeerLost::of(&error).cloned();
            if let Some(lost) = &mut lost {
                lost.events = self.events().into();
            }
            Box::new(Ended { kind: error.kind(), lost, text: error.to_string() })
        });
        self.over.get_or_insert(ended);
    }

    fn explain(&self, failure: Failure, socket: Option<BorrowedSock<'_>>) -> io::Error {
        match failure {
            Failure::Silent { silent } => match socket {
                Some(socket) => PeerLost::missed(&socket, silent).into(),
                None => {
                    let mut lost = PeerLost::new(Loss::HeartbeatMissed, Mechanism::Heartbeat);
                    lost.silent = Some(silent);
                    lost.into()
                }
            },
            Failure::NoGreeting { .. } | Failure::TooSlow(_) => {
                io::Error::new(io::ErrorKind::TimedOut, failure)
            }
            _ => io::Error::new(io::ErrorKind::InvalidData, failure),
        }
    }
}

/// How long ago bytes last arrived at the socket; `None` where the system does not tell.
fn last_arrival(socket: BorrowedSock<'_>) -> Option<Duration> {
    stream::look(socket).ok()?.facts.last_received.value()
}

/// The end of the stream without a goodbye.
pub(super) fn closed() -> io::Error {
    PeerLost::new(Loss::Closed, Mechanism::EndOfFile).into()
}
