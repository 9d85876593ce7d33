//! What the kernel knows of a socket of our own, without reading from it or writing to it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_core::{Facts, Known, TcpState, Why};
use rustix::event::PollFlags;

use super::tcp_info::TcpInfo;
pub use crate::stream::{Ending, Peek, Readiness, Seen, WithoutError};
pub use crate::unix::stream::{ending, peek, set_nonblocking, take_error};
use crate::unix::stream::{poll_one, unread};

/// Prepares the socket of a session: small frames leave at once (TCP_NODELAY).
/// A socket that takes neither, because it is no TCP socket, works as before.
pub fn prepare_session(sock: BorrowedFd<'_>) {
    let _ = super::sockopt::set(sock, super::sockopt::TCP_NODELAY, 1);
}

/// Asks poll(2) and kqueue(2), without waiting.
///
/// # Errors
/// Of either.
pub fn readiness(sock: BorrowedFd<'_>) -> io::Result<Readiness> {
    let flags = poll_one(sock, PollFlags::IN | PollFlags::OUT, Duration::ZERO)?;
    let end = wait_for_end(sock, Duration::ZERO)?;
    Ok(Readiness {
        readable: flags.contains(PollFlags::IN),
        writable: flags.contains(PollFlags::OUT),
        peer_closed: end.peer_closed,
        hung_up: flags.contains(PollFlags::HUP),
        error: flags.contains(PollFlags::ERR) || end.error,
    })
}

/// Waits until the kernel knows the end of the connection, or for `patience`. Data does not end the wait.
///
/// # Errors
/// Of kqueue(2).
#[doc(alias = "EV_EOF")]
pub fn wait_for_end(sock: BorrowedFd<'_>, patience: Duration) -> io::Result<Readiness> {
    /// A full receive queue ends a wait, too; until it is read, waiting is asking again.
    const FULL_AGAIN: Duration = Duration::from_millis(50);
    let started = Instant::now();
    let queue = kqueue()?;
    loop {
        let left = patience.saturating_sub(started.elapsed());
        let event = wait_for_much(&queue, sock, left)?;
        if let Some((true, error)) = event {
            return Ok(Readiness { peer_closed: true, error, ..Readiness::default() });
        }
        if started.elapsed() >= patience {
            return Ok(Readiness::default());
        }
        if event.is_some() {
            thread::sleep(left.min(FULL_AGAIN));
        }
    }
}

/// Waits until the connection is over in both directions, or for `patience`. Neither data nor the peer's FIN
/// ends the wait.
///
/// # Errors
/// Of poll(2).
#[doc(alias = "POLLHUP")]
pub fn wait_for_over(sock: BorrowedFd<'_>, patience: Duration) -> io::Result<Readiness> {
    // POLLERR and POLLHUP come unasked.
    let flags = poll_one(sock, PollFlags::empty(), patience)?;
    Ok(Readiness {
        hung_up: flags.contains(PollFlags::HUP),
        error: flags.contains(PollFlags::ERR),
        ..Readiness::default()
    })
}

/// Whether the peer's FIN has come. `None`: once a connection has ended, these systems do not tell.
pub fn peer_finished(_sock: BorrowedFd<'_>) -> Option<bool> {
    None
}

/// As [`look`].
///
/// # Errors
/// As [`look`].
pub fn look_settled(sock: BorrowedFd<'_>) -> io::Result<Seen> {
    look(sock)
}

/// What `readiness` means where no error was pending. `seen` is from before the error was asked for.
pub fn without_error(sock: BorrowedFd<'_>, readiness: Readiness, seen: &Seen) -> WithoutError {
    crate::unix::stream::without_error(readiness, seen, || peer_finished(sock))
}

fn kqueue() -> io::Result<OwnedFd> {
    // SAFETY: no argument.
    let queue = unsafe { libc::kqueue() };
    if queue < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was made just now, and nobody else has it. Neither kernel lets a child inherit it.
    Ok(unsafe { OwnedFd::from_raw_fd(queue) })
}

/// Waits for more data than there can be (`NOTE_LOWAT`), or for the end: `EV_EOF`, with the pending error in
/// `fflags`. Returns whether it was the end, and whether an error is pending.
fn wait_for_much(
    queue: &OwnedFd,
    sock: BorrowedFd<'_>,
    patience: Duration,
) -> io::Result<Option<(bool, bool)>> {
    // SAFETY: integers and a null pointer.
    let mut event: libc::kevent = unsafe { std::mem::zeroed() };
    event.ident = sock.as_raw_fd() as libc::uintptr_t;
    event.filter = libc::EVFILT_READ;
    event.flags = libc::EV_ADD | libc::EV_ONESHOT;
    event.fflags = libc::NOTE_LOWAT;
    event.data = i32::MAX as _;
    let change = event;
    let timeout = libc::timespec {
        tv_sec: patience.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    };
    // SAFETY: both descriptors are open for as long as they are borrowed; the kernel reads one `kevent` and
    // writes at most one.
    let count = unsafe {
        let timeout =
            if timeout.tv_sec == libc::time_t::MAX { null_mut() } else { (&raw const timeout).cast_mut() };
        libc::kevent(queue.as_raw_fd(), &raw const change, 1, &raw mut event, 1, timeout)
    };
    match count {
        0 => Ok(None),
        1.. if event.flags & libc::EV_ERROR != 0 => {
            Err(io::Error::from_raw_os_error(event.data.try_into().unwrap_or(libc::EINVAL)))
        }
        1.. => Ok(Some((event.flags & libc::EV_EOF != 0, event.fflags != 0))),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            error => Err(error),
        },
    }
}

/// Bytes that the peer has not acknowledged, sent or not: `SO_NWRITE` on macOS.
#[cfg(target_os = "macos")]
fn unacknowledged(sock: BorrowedFd<'_>) -> io::Result<u32> {
    let bytes = super::sockopt::get(sock, super::sockopt::SO_NWRITE)?;
    Ok(u32::try_from(bytes).unwrap_or(0))
}

/// Bytes that the peer has not acknowledged, sent or not: `FIONWRITE` on FreeBSD.
#[cfg(target_os = "freebsd")]
fn unacknowledged(sock: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: `sock` is open for as long as it is borrowed; FIONWRITE writes one int, to `bytes`.
    let result = unsafe { libc::ioctl(sock.as_raw_fd(), libc::FIONWRITE, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(u32::try_from(bytes).unwrap_or(0)) }
}

/// Looks at a TCP socket: `TCP_CONNECTION_INFO` on macOS, `TCP_INFO` on FreeBSD, and the lengths of its queues.
///
/// # Errors
/// Of getsockopt(2): not a TCP socket.
#[doc(alias = "TCP_CONNECTION_INFO")]
pub fn look(sock: BorrowedFd<'_>) -> io::Result<Seen> {
    let info = TcpInfo::read(sock)?;
    let mut facts = Facts::new(info.state().unwrap_or(TcpState::Close));
    for age in [&mut facts.last_heard, &mut facts.last_received, &mut facts.last_sent] {
        *age = Known::Not(Why::NotOnThisKernel);
    }
    facts.segments_in = Known::Not(Why::NotOnThisKernel);
    let unacknowledged = unacknowledged(sock).ok();
    facts.in_flight = unacknowledged.unwrap_or(0);
    facts.unread = unread(sock);
    info.fill(&mut facts);
    Ok(Seen { facts, unacknowledged, established: None })
}
