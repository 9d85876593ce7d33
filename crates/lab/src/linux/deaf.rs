//! A socket that hears nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_os::linux::deaf;

/// Makes a socket deaf: nothing reaches it until the guard is dropped.
///
/// The kernel drops whatever arrives before TCP sees it, so it acknowledges and answers nothing. Works on any
/// path, loopback too. A deaf socket can still *send*: data, retransmissions, its own keepalive probes, a FIN
/// on close. Where a dead host is meant, [`sever`] instead.
///
/// A deaf listener leaves `connect` as unanswered as an address where nobody lives.
///
/// ```no_run
/// # use deadpeer_lab::{Pair, deafen};
/// # use std::io::{ErrorKind, Read, Write};
/// # use std::time::Duration;
/// let mut pair = Pair::loopback()?;
/// pair.server.set_read_timeout(Some(Duration::from_millis(50)))?;
/// let deaf = deafen(&pair.server)?;
/// pair.client.write_all(b"hello")?;
/// let mut server = &pair.server;
/// assert_eq!(server.read(&mut [0; 5]).unwrap_err().kind(), ErrorKind::WouldBlock);
/// drop(deaf); // the client's next retransmission arrives
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Of setsockopt(2): `EPERM` on newer kernels without `CAP_NET_ADMIN` in the socket's network namespace, which
/// an [isolated](crate::isolated!) test has; `EPERM` on any if the socket's filter is locked
/// (`SO_LOCK_FILTER`). A filter that the socket had before is lost.
pub fn deafen(sock: &impl AsFd) -> io::Result<Deaf<'_>> {
    let sock = sock.as_fd();
    let dropped = deaf::dropped(sock)?;
    deaf::deafen(sock)?;
    Ok(Deaf { sock, dropped })
}

/// A socket that hears nothing until this is dropped; made by [`deafen`].
#[derive(Debug)]
#[must_use = "dropping it lets the socket hear again"]
pub struct Deaf<'s> {
    sock: BorrowedFd<'s>,
    /// The kernel's count when the socket became deaf.
    dropped: u32,
}

impl Deaf<'_> {
    /// Waits until the kernel has dropped a segment for this socket; returns whether it did within `patience`.
    ///
    /// On a busy machine a segment that was sent may arrive later than the call returned that sent it.
    ///
    /// # Errors
    /// Of getsockopt(2).
    pub fn await_drop(&self, patience: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + patience;
        while deaf::dropped(self.sock)? == self.dropped {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    }
}

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        // Fails only if somebody else has detached or locked the filter meanwhile: theirs to know.
        let _ = deaf::undeafen(self.sock);
    }
}

/// Makes both ends of a connection deaf: to each of them the other's host is dead.
///
/// # Errors
/// As [`deafen`].
pub fn sever<'s>(one: &'s impl AsFd, other: &'s impl AsFd) -> io::Result<Severed<'s>> {
    Ok(Severed { _ends: [deafen(one)?, deafen(other)?] })
}

/// A connection whose ends don't hear each other until this is dropped; made by [`sever`].
#[derive(Debug)]
#[must_use = "dropping it lets both ends hear again"]
pub struct Severed<'s> {
    _ends: [Deaf<'s>; 2],
}
