//! Asking the kernel whether, and why, a connection has ended.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_core::{Known, Protection, TcpState};
use deadpeer_os::current::settings;
use deadpeer_os::current::stream::{self, Ending, Readiness, Seen, WithoutError};
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

/// Which end a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The peer sends nothing more: its FIN, or the end of the connection.
    Closed,
    /// The connection is over: a FIN of the peer alone does not end it.
    Over,
}

/// What an error of a read or write says of the peer, if it ends the connection.
pub(super) fn lost_by(sock: BorrowedSock<'_>, error: &io::Error) -> Option<PeerLost> {
    if PeerLost::of(error).is_some() {
        return None;
    }
    lost_with(sock, error.raw_os_error()?, false)
}

/// What the error number of a connection says, with what the socket still shows. `pending` where it came from
/// SO_ERROR: EPIPE is a RST then, and no consequence of an earlier end.
fn lost_with(sock: BorrowedSock<'_>, errno: i32, pending: bool) -> Option<PeerLost> {
    let ending = stream::ending(sock, errno)?;
    let seen = stream::look_settled(sock).ok();
    let state = seen.as_ref().map(|seen| seen.facts.state);
    let established = seen.as_ref().and_then(|seen| seen.established);
    // With IP_RECVERR what routers say of a connection is an error at once, and ends nothing.
    let goes_on = established == Some(true) && state != Some(TcpState::Close);
    let (cause, noticed_by) = match ending {
        Ending::Silence | Ending::AbortedOrSilence if established == Some(false) => {
            (Loss::NeverConnected, timer(settings::read(sock).ok().as_ref()))
        }
        Ending::Refused if established != Some(true) => (Loss::Refused, refused_by(seen.as_ref())),
        Ending::Refused | Ending::Unreachable if goes_on => return None,
        Ending::Refused | Ending::Unreachable => (Loss::Unreachable, Mechanism::Icmp),
        Ending::Reset => (Loss::Reset, Mechanism::Reset),
        // A write to a connection that had ended: another call has had the error.
        Ending::Broken
            if state == Some(TcpState::Close) && !pending && is_consequence(sock, seen.as_ref()) =>
        {
            (Loss::Ended, Mechanism::Unknown)
        }
        // After FIN a RST counts as EPIPE (`tcp_reset`); and so does writing after one's own shutdown.
        Ending::Broken if state == Some(TcpState::Close) => (Loss::Reset, Mechanism::Reset),
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
    };
    Some(PeerLost { errno: Some(errno), ..lost(cause, noticed_by, seen.as_ref()) })
}

/// Whether EPIPE can only be the consequence of an end that came before: a RST counts as EPIPE after FIN alone. A
/// timer that had begun to count may have ended it as well.
fn is_consequence(sock: BorrowedSock<'_>, seen: Option<&Seen>) -> bool {
    let counted = |seen: &Seen| seen.facts.retransmits > 0 || seen.facts.probes_out > 0;
    stream::peer_finished(sock) == Some(false) || seen.is_some_and(counted)
}

/// Which timer gave up on what nobody acknowledged.
fn timer(set: Option<&Protection>) -> Mechanism {
    match set.is_some_and(|set| matches!(set.user_timeout, Known::Is(Some(_)))) {
        true => Mechanism::UserTimeout,
        false => Mechanism::Retransmissions,
    }
}

/// A RST counts as a segment, an ICMP message does not. After a connect(2) that waits the kernel has forgotten
/// which it was.
fn refused_by(seen: Option<&Seen>) -> Mechanism {
    match seen.map(|seen| seen.facts.segments_in) {
        Some(Known::Is(0)) => Mechanism::Unknown,
        _ => Mechanism::Reset,
    }
}

/// A loss with what the socket still shows. An unanswered SYN counts as a byte, and is none.
fn lost(cause: Loss, noticed_by: Mechanism, seen: Option<&Seen>) -> PeerLost {
    let seen = seen.filter(|seen| seen.established != Some(false));
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
    let window_shut =
        seen.is_some_and(|seen| seen.facts.peer_window == Known::Is(0) && seen.facts.probes_out == 0);
    match (timer(set.as_ref()), window_shut) {
        (Mechanism::UserTimeout, true) => (Loss::WindowShut, Mechanism::UserTimeout),
        (timer, _) => (Loss::SilentInFlight, timer),
    }
}

/// Whether the kernel knows that the peer is gone or has closed. It does not wait and takes no data.
///
/// **A pending error is taken** from the socket (`SO_ERROR`): it comes back in [`PeerLost::errno`], and the
/// next read says "end of file" instead. [`Guarded`](crate::Guarded) remembers it and needs no such care.
/// Where another reader was faster, the cause is not known any more: [`Loss::Ended`].
///
/// # Errors
/// Of poll and getsockopt; `NotConnected` for a listening socket; the socket is none of TCP.
#[doc(alias = "SO_ERROR")]
pub fn is_lost(socket: &impl AsSock) -> io::Result<Option<PeerLost>> {
    lost_within(socket, Duration::ZERO)
}

/// Waits up to `patience` for the kernel to know that the peer is gone or has closed, without reading: data
/// that comes does not end the wait. Else as [`is_lost`].
///
/// A peer that has said all that it had to say, and waits for the answer, counts as closed: see
/// [`over_within`].
///
/// # Errors
/// As [`is_lost`].
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
    wait_for(socket.as_sock(), Until::Closed, patience)
}

/// Whether the kernel knows that the connection is over: reset, timed out, or closed by both sides. It does not
/// wait and takes no data. Else as [`is_lost`].
///
/// # Errors
/// As [`is_lost`].
pub fn is_over(socket: &impl AsSock) -> io::Result<Option<PeerLost>> {
    over_within(socket, Duration::ZERO)
}

/// Waits up to `patience` for the kernel to know that the connection is over: reset, timed out, or closed by
/// both sides. Neither data nor the peer's FIN ends the wait.
///
/// This is the wait for work that is given up when nobody wants its result any more. A client may close its
/// sending side after its request and wait for the answer (half-close, `shutdown(SHUT_WR)`), and
/// [`lost_within`] calls that `Closed`. TCP does not tell such a client from one that has closed both
/// directions until something is sent to it: then the latter answers with a reset, which ends this wait.
///
/// # Errors
/// As [`is_lost`].
///
/// ```
/// use std::io::Write;
/// use std::net::{Shutdown, TcpListener, TcpStream};
/// use std::time::Duration;
/// use deadpeer::{Loss, lost_within, over_within};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let (mut server, _) = listener.accept()?;
/// client.shutdown(Shutdown::Write)?; // it has asked, and waits for the answer
/// assert_eq!(lost_within(&server, Duration::from_secs(5))?.map(|lost| lost.cause), Some(Loss::Closed));
/// # #[cfg(not(windows))] // which tells nothing of the own side
/// # {
/// assert_eq!(over_within(&server, Duration::from_millis(10))?, None);
/// drop(client);
/// server.write_all(b"answer")?; // nobody reads it: RST
/// assert_eq!(over_within(&server, Duration::from_secs(5))?.map(|lost| lost.cause), Some(Loss::Reset));
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "POLLHUP")]
pub fn over_within(socket: &impl AsSock, patience: Duration) -> io::Result<Option<PeerLost>> {
    wait_for(socket.as_sock(), Until::Over, patience)
}

fn wait_for(sock: BorrowedSock<'_>, until: Until, patience: Duration) -> io::Result<Option<PeerLost>> {
    if stream::look(sock)?.facts.state == TcpState::Listen {
        let why = "a listening socket has no peer: ask the sockets that it accepts";
        return Err(io::Error::new(io::ErrorKind::NotConnected, why));
    }
    wait(sock, until, patience, |readiness| end(sock, readiness, until))
}

/// Waits until `judge` finds an end in what poll(2) says, or for `patience`.
pub(super) fn wait(
    sock: BorrowedSock<'_>,
    until: Until,
    patience: Duration,
    mut judge: impl FnMut(Readiness) -> io::Result<Option<PeerLost>>,
) -> io::Result<Option<PeerLost>> {
    /// What is no end, such as a filled error queue, poll(2) says again at once.
    const AGAIN: Duration = Duration::from_millis(50);
    let started = Instant::now();
    loop {
        let left = patience.saturating_sub(started.elapsed());
        let readiness = match until {
            Until::Closed => stream::wait_for_end(sock, left)?,
            Until::Over => stream::wait_for_over(sock, left)?,
        };
        if let Some(lost) = judge(readiness)? {
            return Ok(Some(lost));
        }
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(left.min(AGAIN));
    }
}

/// What poll(2) says of the end. The pending error is taken where there is one.
pub(crate) fn end(
    sock: BorrowedSock<'_>,
    readiness: Readiness,
    until: Until,
) -> io::Result<Option<PeerLost>> {
    if !readiness.is_end() {
        return Ok(None);
    }
    // Before the error is asked for: a connection that ends in between is seen by the next look.
    let seen = stream::look_settled(sock)?;
    // Windows calls an error "hung up", too.
    if (readiness.error || readiness.hung_up)
        && let Some(errno) = stream::take_error(sock)?
    {
        if let Some(lost) = lost_with(sock, errno, true) {
            return Ok(Some(lost));
        }
        // It is gone from the socket, so what it ended must be told with it.
        let ended = stream::look_settled(sock)?.facts.state == TcpState::Close;
        let unexplained = || lost(Loss::Ended, Mechanism::Unknown, Some(&seen));
        return Ok(ended.then(|| PeerLost { errno: Some(errno), ..unexplained() }));
    }
    let (cause, noticed_by) = match stream::without_error(sock, readiness, &seen) {
        WithoutError::GoesOn => return Ok(None),
        WithoutError::PeerClosed if until == Until::Over => return Ok(None),
        WithoutError::PeerClosed | WithoutError::BothClosed => (Loss::Closed, Mechanism::EndOfFile),
        WithoutError::ShutHere => (Loss::AbortedHere, Mechanism::Local),
        WithoutError::NeverConnected => (Loss::NeverConnected, Mechanism::Local),
        WithoutError::ErrorTaken => (Loss::Ended, Mechanism::Unknown),
    };
    Ok(Some(lost(cause, noticed_by, Some(&seen))))
}
