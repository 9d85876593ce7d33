//! Asking the kernel whether, and why, a connection has ended.

use std::io;
use std::time::Duration;

use deadpeer_core::{Known, TcpState};
use deadpeer_os::current::settings;
use deadpeer_os::current::stream::{self, Ending, Readiness, Seen};
use deadpeer_os::{AsSock, BorrowedSock};

use super::loss::{Loss, Mechanism, PeerLost};

impl PeerLost {
    /// Adds to an error of a read or a write why the connection ended: for code that keeps its own stream
    /// type (hyper, tonic, sqlx …).
    ///
    /// Errors that do not end a connection (EINTR, EAGAIN, EPIPE after one's own `shutdown`), and those that
    /// are explained already, come back as they are.
    ///
    /// ```
    /// use std::io::Read;
    /// use std::net::{TcpListener, TcpStream};
    /// use deadpeer::{Loss, PeerLost};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut client = TcpStream::connect(listener.local_addr()?)?;
    /// let (server, _) = listener.accept()?;
    /// std::io::Write::write_all(&mut client, b"unread")?;
    /// # std::thread::sleep(std::time::Duration::from_millis(100));
    /// drop(server); // with data unread: RST
    ///
    /// let error = client.read(&mut [0; 16]).map_err(|error| PeerLost::explain(&client, error)).unwrap_err();
    /// assert_eq!(PeerLost::of(&error).unwrap().cause, Loss::Reset);
    /// assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn explain(socket: &impl AsSock, error: io::Error) -> io::Error {
        match lost_by(socket.as_sock(), &error) {
            Some(lost) => io::Error::new(error.kind(), lost),
            None => error,
        }
    }
}

/// What an error of a read or write says of the peer, if it ends the connection.
pub(super) fn lost_by(sock: BorrowedSock<'_>, error: &io::Error) -> Option<PeerLost> {
    if PeerLost::of(error).is_some() {
        return None;
    }
    lost_with(sock, error.raw_os_error()?)
}

/// What the error number of a connection says, with what the socket still shows.
fn lost_with(sock: BorrowedSock<'_>, errno: i32) -> Option<PeerLost> {
    let seen = stream::look(sock).ok();
    let (cause, noticed_by) = match stream::ending(sock, errno)? {
        Ending::Reset => (Loss::Reset, Mechanism::Reset),
        // After FIN a RST counts as EPIPE (`tcp_reset`); and so does writing after one's own shutdown.
        Ending::Broken if seen.as_ref().is_some_and(|seen| seen.facts.state == TcpState::Close) => {
            (Loss::Reset, Mechanism::Reset)
        }
        Ending::Broken => return None,
        Ending::Silence => silence(sock, seen.as_ref()),
        Ending::Keepalive => (Loss::SilentIdle, Mechanism::Keepalive),
        // Only a timer ends a connection that waits for an acknowledgement.
        Ending::AbortedOrSilence
            if seen.as_ref().and_then(|seen| seen.unacknowledged).is_some_and(|bytes| bytes > 0) =>
        {
            silence(sock, seen.as_ref())
        }
        Ending::Aborted | Ending::AbortedOrSilence => (Loss::AbortedHere, Mechanism::Local),
        Ending::Unreachable => (Loss::Unreachable, Mechanism::Icmp),
    };
    Some(PeerLost { errno: Some(errno), ..lost(cause, noticed_by, seen.as_ref()) })
}

/// A loss with what the socket still shows.
fn lost(cause: Loss, noticed_by: Mechanism, seen: Option<&Seen>) -> PeerLost {
    PeerLost {
        silent: seen.and_then(|seen| seen.facts.last_heard.value()),
        unacknowledged: seen.and_then(|seen| seen.unacknowledged).map(u64::from),
        ..PeerLost::new(cause, noticed_by)
    }
}

/// ETIMEDOUT has many fathers. The counters of a dead socket stay readable and tell them apart (measured on
/// Linux 6.18): nothing unacknowledged is keepalive's work; a shut window without an unanswered probe is a
/// peer that lives. Where a system keeps no count of what is unacknowledged, keepalive is taken to have
/// noticed where it is on.
fn silence(sock: BorrowedSock<'_>, seen: Option<&Seen>) -> (Loss, Mechanism) {
    let set = settings::read(sock).ok();
    let idle = match seen.and_then(|seen| seen.unacknowledged) {
        Some(bytes) => bytes == 0,
        None => set.is_some_and(|set| matches!(set.keepalive, Known::Is(keepalive) if keepalive.enabled)),
    };
    if idle {
        return (Loss::SilentIdle, Mechanism::Keepalive);
    }
    let timeout = set.is_some_and(|set| matches!(set.user_timeout, Known::Is(Some(_))));
    let window_shut = seen.is_some_and(|seen| seen.peer_window == Some(0) && seen.facts.probes_out == 0);
    match (timeout, window_shut) {
        (true, true) => (Loss::WindowShut, Mechanism::UserTimeout),
        (true, false) => (Loss::SilentInFlight, Mechanism::UserTimeout),
        (false, _) => (Loss::SilentInFlight, Mechanism::Retransmissions),
    }
}

/// Whether the kernel knows that the peer is gone or has closed. It does not wait and takes no data.
///
/// **A pending error is taken** from the socket (`SO_ERROR`): it comes back in [`PeerLost::errno`], and the
/// next read says "end of file" instead. [`Guarded`](crate::Guarded) remembers it and needs no such care.
///
/// # Errors
/// Of poll and getsockopt.
#[doc(alias = "SO_ERROR")]
pub fn is_lost(socket: &impl AsSock) -> io::Result<Option<PeerLost>> {
    lost_within(socket, Duration::ZERO)
}

/// Waits up to `patience` for the kernel to know that the peer is gone or has closed, without reading: data
/// that comes does not end the wait. Else as [`is_lost`].
///
/// # Errors
/// Of poll and getsockopt.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Duration;
/// use deadpeer::{Loss, lost_within};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let (server, _) = listener.accept()?;
/// assert_eq!(lost_within(&client, Duration::from_millis(10))?, None);
/// drop(server);
/// let lost = lost_within(&client, Duration::from_secs(5))?;
/// assert_eq!(lost.map(|lost| lost.cause), Some(Loss::Closed));
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "POLLRDHUP")]
pub fn lost_within(socket: &impl AsSock, patience: Duration) -> io::Result<Option<PeerLost>> {
    let sock = socket.as_sock();
    let readiness = stream::wait_for_end(sock, patience)?;
    end(sock, readiness)
}

/// What poll(2) says of the end. The pending error is taken where there is one.
pub(crate) fn end(sock: BorrowedSock<'_>, readiness: Readiness) -> io::Result<Option<PeerLost>> {
    if !readiness.is_end() {
        return Ok(None);
    }
    // Windows calls an error "hung up", too.
    if (readiness.error || readiness.hung_up)
        && let Some(errno) = stream::take_error(sock)?
    {
        return match lost_with(sock, errno) {
            Some(lost) => Ok(Some(lost)),
            None => Err(io::Error::from_raw_os_error(errno)),
        };
    }
    Ok(Some(lost(Loss::Closed, Mechanism::EndOfFile, stream::look(sock).ok().as_ref())))
}
