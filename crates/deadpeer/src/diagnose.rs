//! The classic methods of looking at a connection, in one call.

use std::io;

use deadpeer_core::{Detection, Facts, Judgement, Protection, Rules, detection, judge};
use deadpeer_os::current::stream::{self, Peek, Readiness};
use deadpeer_os::current::{platform, settings};
use deadpeer_os::{AsSock, BorrowedSock};

use crate::guard::{PeerLost, Until, end};

/// What each of the classic methods says of a connection, and what follows from all of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// What poll says.
    ///
    /// `readable` proves nothing about the peer: data, end of file and errors look the same. `peer_closed`
    /// proves that the peer closed its sending side, or that the connection is over. That nothing is set
    /// proves nothing: a peer that lost power looks like one that has nothing to say.
    pub readiness: Readiness,
    /// The error that was pending. **Asking took it from the socket**: the next read says "end of file", so
    /// keep it. `None` proves nothing but that no timer has ended yet.
    #[doc(alias = "SO_ERROR")]
    pub pending_error: Option<i32>,
    /// What a look into the receive queue says (recv(2) with `MSG_PEEK`).
    ///
    /// Only [`Peek::EndOfFile`] is the peer's close, and only while no error was pending. [`Peek::Nothing`]
    /// (EAGAIN, EINTR) is no sign of death. [`Peek::Data`] proves that the peer lived when it sent that.
    #[doc(alias = "MSG_PEEK")]
    pub peek: Peek,
    /// What TCP_INFO and sock_diag tell; elsewhere than on Linux, SIO_TCP_INFO, TCP_CONNECTION_INFO or TCP_INFO
    /// alone, which know no age of anything. A state of ESTABLISHED proves nothing about the peer; CLOSE_WAIT
    /// proves that it has closed and that this program has not; the ages and counters are what the verdict
    /// rests on.
    #[doc(alias = "TCP_INFO")]
    pub facts: Facts,
    /// What is set on the socket.
    pub protection: Protection,
    /// How long a death would go unnoticed from now on.
    pub detection: Detection,
    /// Why the connection has ended, where it has.
    pub lost: Option<PeerLost>,
    /// What follows from the facts.
    pub judgement: Judgement,
}

/// Looks at a connected TCP socket in every way that neither reads nor writes nor waits.
///
/// What none of them can see: whether a silent peer lives. Only asking can
/// (`host::Scan::probe`, on Linux), or waiting for the timers of
/// [`Diagnosis::detection`]; and whether the peer's *application* works, only a heartbeat.
///
/// # Errors
/// Of the first call on the socket: it is not a TCP socket.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use deadpeer::{Verdict, diagnose};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let diagnosis = diagnose(&client)?;
/// # #[cfg(target_os = "linux")] // elsewhere no age is told
/// assert_eq!(diagnosis.judgement.verdict(), Verdict::Alive); // heard a moment ago
/// assert_eq!(diagnosis.detection.idle.to_string(), "never"); // nothing is set
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn diagnose(socket: &impl AsSock) -> io::Result<Diagnosis> {
    let sock = socket.as_sock();
    let readiness = stream::readiness(sock)?;
    let protection = settings::read(sock)?;
    let facts = facts(sock, &protection)?;
    // The error before the peek, which would take it, too.
    let lost = end(sock, readiness, Until::Closed)?;
    Ok(Diagnosis {
        readiness,
        pending_error: lost.as_ref().and_then(|lost| lost.errno),
        peek: stream::peek(sock),
        protection,
        detection: detection(&protection, &platform(), facts.rto),
        lost,
        judgement: judge(&facts, &Rules::default()),
        facts,
    })
}

/// TCP_INFO, and from sock_diag the timer, without which silence can't be told from rest.
#[cfg(target_os = "linux")]
pub(crate) fn facts(sock: BorrowedSock<'_>, protection: &Protection) -> io::Result<Facts> {
    let seen = stream::look(sock)?;
    // Where netlink is forbidden (a container's seccomp filter), and after the end, TCP_INFO must do.
    use deadpeer_os::linux::diag::Diag;
    let Ok(Some(row)) = Diag::open().and_then(|mut diag| diag.own(sock)) else { return Ok(seen.facts) };
    let mut facts = known_by(protection, row.facts);
    if facts.silence().is_some() {
        facts.path = crate::host::path_of(&row);
    }
    Ok(facts)
}

/// What a socket tells of itself. No timer is told: silence can't be told from rest.
#[cfg(not(target_os = "linux"))]
pub(crate) fn facts(sock: BorrowedSock<'_>, protection: &Protection) -> io::Result<Facts> {
    Ok(known_by(protection, stream::look(sock)?.facts))
}

/// With what the settings tell of the kernel's own tries.
fn known_by(protection: &Protection, facts: Facts) -> Facts {
    let keepalive_interval = protection.active_keepalive().map(|keepalive| keepalive.interval());
    Facts { keepalive_interval, rto_max: protection.rto_ceiling(&platform()).value(), ..facts }
}
