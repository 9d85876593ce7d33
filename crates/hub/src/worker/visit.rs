//! One session while the loop works on it.

use std::sync::Arc;

use deadpeer::{AsSock, PeerLost, prepare_session};
use deadpeer_core::session::{Bye, Columns, Flow, Live, Reason, Terms};
use deadpeer_core::{Instant, Random};
use mio::net::TcpStream;
use mio::{Interest, Registry};
use socket2::SockRef;

use super::entry::Entry;
use super::{Role, Side, token};
use crate::event::{Ending, Refusal};
use crate::shared::Shared;

/// What all sessions of a loop share.
#[derive(Debug)]
pub(super) struct Context {
    pub shared: Arc<Shared>,
    pub role: Role,
    pub terms: Terms,
    pub random: Random,
    pub registry: Registry,
    /// Sockets that had their turn and may have more.
    pub again: Vec<(usize, Side)>,
    /// What is about to be written.
    pub out: Vec<u8>,
    /// Where the data stands in what was read.
    pub pieces: Vec<std::ops::Range<usize>>,
    pub now: Instant,
    pub stopping: Option<Bye>,
}

/// One session while the loop works on it. Its methods fail with [`Over`], which ends it.
pub(super) struct Visit<'w> {
    pub index: usize,
    pub entry: &'w mut Entry,
    pub columns: &'w mut Columns,
    pub context: &'w mut Context,
}

/// The end of a session, and what is still to be said to the peer.
#[derive(Debug)]
pub(super) struct Over {
    pub why: Why,
    /// The goodbye, unless the peer is gone or nothing is to be said to it.
    pub bye: Option<Bye>,
}

#[derive(Debug)]
pub(super) enum Why {
    /// It never was a session.
    Refused(Refusal),
    Ended(Ending),
    /// Everything is told already.
    Told,
}

pub(super) type Outcome<T = ()> = Result<T, Box<Over>>;

impl Over {
    pub(super) fn refused(why: Refusal, reason: Option<Reason>) -> Box<Self> {
        Box::new(Self { why: Why::Refused(why), bye: reason.map(Bye::new) })
    }

    pub(super) fn ended(why: Ending, bye: Option<Bye>) -> Box<Self> {
        Box::new(Self { why: Why::Ended(why), bye })
    }

    pub(super) fn died(lost: PeerLost) -> Box<Self> {
        Self::ended(Ending::Died(lost), None)
    }

    /// Nothing is told any more.
    pub(super) fn told(bye: Option<Bye>) -> Box<Self> {
        Box::new(Self { why: Why::Told, bye })
    }
}

/// The session's state with its time stamps, and its credit if it carries data. A session that carries data has its own
/// history; the others share the journal.
pub(super) fn live<'a>(
    columns: &'a mut Columns,
    entry: &'a mut Entry,
    index: usize,
) -> Option<(Live<'a>, Option<&'a mut Flow>)> {
    match entry.joint() {
        None => Some((columns.live(index)?, None)),
        Some(joint) => Some((columns.live_with(index, &mut joint.history)?, Some(&mut joint.flow))),
    }
}

impl Visit<'_> {
    pub(super) fn live(&mut self) -> Option<Live<'_>> {
        live(self.columns, self.entry, self.index).map(|(live, _)| live)
    }

    pub(super) fn is_up(&self) -> bool {
        self.columns.session(self.index).is_some_and(|session| session.is_up())
    }

    /// Whether the two sides have not agreed yet.
    pub(super) fn is_greeting(&self) -> bool {
        self.columns.session(self.index).is_some_and(|session| session.is_greeting())
    }

    /// Makes frames with the engine and writes them. `first`: before data that waits.
    pub(super) fn say(&mut self, first: bool, make: impl FnOnce(&mut Live<'_>, Instant, &mut Vec<u8>)) {
        let mut out = std::mem::take(&mut self.context.out);
        out.clear();
        let now = self.context.now;
        if let Some(mut live) = self.live() {
            make(&mut live, now, &mut out);
        }
        if !out.is_empty() {
            self.write(&out, first);
        }
        self.context.out = out;
    }

    /// Writes frames. A failure is told once everything that has arrived was read: see [`Extra::failed`](super::entry::Extra).
    pub(super) fn write(&mut self, frames: &[u8], first: bool) {
        match self.entry.write(frames, first, &self.context.shared.account) {
            Ok(took) => self.wrote(took),
            Err(error) => self.write_failed(error),
        }
    }

    pub(super) fn wrote(&mut self, took: bool) {
        if !took {
            return;
        }
        let Context { terms, random, now, .. } = &mut *self.context;
        if let Some((mut live, _)) = live(self.columns, self.entry, self.index) {
            live.wrote(terms, random, *now);
        }
    }

    pub(super) fn write_failed(&mut self, error: std::io::Error) {
        let error = PeerLost::explain(&self.entry.socket, error);
        let extra = self.entry.extra();
        extra.failed.get_or_insert(error);
        extra.outgoing = Default::default();
        self.context.again.push((self.index, Side::Session));
    }

    /// Watches the sockets of a session that was just opened.
    pub(super) fn begin(&mut self) -> Outcome {
        prepare_session(self.entry.socket.as_sock());
        let watched = Self::watch(&self.context.registry, &mut self.entry.socket, self.index, Side::Session);
        let watched =
            watched.and_then(|()| match self.entry.joint().and_then(|joint| joint.plain.as_mut()) {
                Some(plain) => Self::watch(&self.context.registry, plain, self.index, Side::Plain),
                None => Ok(()),
            });
        watched.map_err(|error| Over::refused(Refusal::Unreachable(format!("watching it: {error}")), None))
    }

    /// Watches both directions from the start: a connection that can be written to says so once, and then only after a
    /// write that found no room.
    pub(super) fn watch(
        registry: &Registry,
        socket: &mut TcpStream,
        index: usize,
        side: Side,
    ) -> std::io::Result<()> {
        registry.register(socket, token(index, side), Interest::READABLE | Interest::WRITABLE)
    }
}

/// Lets the close of `stream` be a reset, and leave nothing behind in the kernel.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    // Where that can't be set it closes as usual.
    let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}
