//! What is remembered of a connection's end, since the kernel tells each error once.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use deadpeer_core::TcpState;
use deadpeer_os::BorrowedSock;
use deadpeer_os::current::stream::{self, Readiness};

use super::end::{self, Until, lost_by};
use super::loss::{Loss, Mechanism, PeerLost};

/// One decision for all threads that use a stream.
///
/// Errors are taken with SO_ERROR only under the lock, and remembered before it is let go. A read or a write
/// takes an error without the lock, and remembers it a moment later. A call that finds a connection ended without
/// FIN and without an error therefore waits for that moment.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The loss whose error was taken first.
    lost: OnceLock<PeerLost>,
    /// An end whose error was taken, and not by this stream.
    ended: OnceLock<PeerLost>,
    taking: Mutex<()>,
    remembered: Condvar,
}

impl Memory {
    /// How long a call that took an error may need to remember it, on a busy machine.
    pub(super) const GRACE: Duration = Duration::from_millis(200);

    pub(super) fn lost(&self) -> Option<PeerLost> {
        self.lost.get().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What poll(2) says of the end; the error that asking takes from the socket is remembered.
    pub(super) fn end(
        &self,
        sock: BorrowedSock<'_>,
        readiness: Readiness,
        until: Until,
        grace: Duration,
    ) -> io::Result<Option<PeerLost>> {
        if !readiness.is_end() {
            return Ok(None);
        }
        let taking = self.lock();
        if let Some(lost) = self.lost() {
            return Ok(Some(lost));
        }
        Ok(match end::end(sock, readiness, until)? {
            Some(lost) if lost.errno.is_some() => Some(self.remember(&taking, lost)),
            Some(lost) if lost.cause == Loss::Ended => Some(self.taken(taking, lost, grace)),
            end => end,
        })
    }

    /// Explains an error of a read or a write, and remembers the loss.
    pub(super) fn explain(&self, sock: BorrowedSock<'_>, error: io::Error, grace: Duration) -> io::Error {
        let Some(lost) = lost_by(sock, &error) else { return error };
        let taking = self.lock();
        let lost = match lost.cause {
            // The other call, whose error it was, knows more.
            Loss::Ended => self.taken(taking, lost, grace),
            _ => self.remember(&taking, lost),
        };
        io::Error::new(error.kind(), lost)
    }

    /// A read said "end of file": so the kernel does after the peer's FIN, and after an error that was taken.
    #[cold]
    pub(super) fn at_end_of_file(&self, sock: BorrowedSock<'_>, grace: Duration) -> io::Result<usize> {
        // Nothing is missing then, whatever happened later.
        if stream::peer_finished(sock) == Some(true) {
            return Ok(0);
        }
        let taking = self.lock();
        if let Some(lost) = self.lost() {
            return Err(lost.into());
        }
        match (stream::look_settled(sock).map(|seen| seen.facts.state), stream::peer_finished(sock)) {
            (Ok(TcpState::Close), Some(false)) => {
                Err(self.taken(taking, PeerLost::new(Loss::Ended, Mechanism::Unknown), grace).into())
            }
            // Where that can't be known, what the other calls remember counts.
            (Ok(TcpState::Close), None) => {
                drop(self.wait(taking, grace));
                self.lost().map_or(Ok(0), |lost| Err(lost.into()))
            }
            _ => Ok(0),
        }
    }

    /// The first one is the true one: what follows it are consequences.
    fn remember(&self, _taking: &MutexGuard<'_, ()>, lost: PeerLost) -> PeerLost {
        let first = self.lost.get_or_init(|| lost).clone();
        self.remembered.notify_all();
        first
    }

    /// The error was taken by another call: what that remembers, or `ended` where it was none of this stream's.
    fn taken(&self, taking: MutexGuard<'_, ()>, ended: PeerLost, grace: Duration) -> PeerLost {
        let _taking = if self.ended.get().is_none() { self.wait(taking, grace) } else { taking };
        self.lost().unwrap_or_else(|| self.ended.get_or_init(|| ended).clone())
    }

    /// Lets others remember, until one has.
    fn wait<'m>(&'m self, taking: MutexGuard<'m, ()>, grace: Duration) -> MutexGuard<'m, ()> {
        let nothing = |(): &mut ()| self.lost.get().is_none();
        let waited = self.remembered.wait_timeout_while(taking, grace, nothing);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
