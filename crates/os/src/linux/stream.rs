//! What the kernel knows of a socket of our own, without reading from it or writing to it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use deadpeer_core::{Facts, TcpState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::tcp_info::{CAPACITY, TcpInfo};

/// What poll(2) says of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// POLLIN: a read would not block. Data, end of file and errors all say so.
    pub readable: bool,
    /// POLLOUT: a write would not block; it may fail.
    pub writable: bool,
    /// POLLRDHUP: the peer has closed its sending side (FIN), or the connection has ended.
    pub peer_closed: bool,
    /// POLLHUP: both directions are shut.
    pub hung_up: bool,
    /// POLLERR: an error is pending.
    pub error: bool,
}

impl Readiness {
    /// Whether the kernel knows that the peer is gone, or has closed.
    pub const fn is_end(self) -> bool {
        self.peer_closed || self.hung_up || self.error
    }
}

impl From<PollFlags> for Readiness {
    fn from(flags: PollFlags) -> Self {
        Self {
            readable: flags.contains(PollFlags::IN),
            writable: flags.contains(PollFlags::OUT),
            peer_closed: flags.contains(PollFlags::RDHUP),
            hung_up: flags.contains(PollFlags::HUP),
            error: flags.contains(PollFlags::ERR),
        }
    }
}

/// Asks poll(2), without waiting.
///
/// # Errors
/// Of poll(2).
pub fn readiness(sock: BorrowedFd<'_>) -> io::Result<Readiness> {
    let all = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP;
    wait(sock, all, Duration::ZERO)
}

/// Waits until the kernel knows the end of the connection, or for `patience`. Data does not end the wait.
///
/// # Errors
/// Of poll(2).
#[doc(alias = "POLLRDHUP")]
pub fn wait_for_end(sock: BorrowedFd<'_>, patience: Duration) -> io::Result<Readiness> {
    wait(sock, PollFlags::RDHUP, patience)
}

/// A signal (EINTR) does not end the wait, and does not lengthen it.
fn wait(sock: BorrowedFd<'_>, events: PollFlags, patience: Duration) -> io::Result<Readiness> {
    let started = std::time::Instant::now();
    let mut fds = [PollFd::from_borrowed_fd(sock, events)];
    loop {
        let left = patience.saturating_sub(started.elapsed());
        // Longer than the kernel can count is for ever.
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => return Ok(fds[0].revents().into()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes the pending error: **it is gone from the socket then**, and the next read says "end of file".
/// Whoever asks must keep the answer.
///
/// # Errors
/// Of getsockopt(2).
#[doc(alias = "SO_ERROR")]
pub fn take_error(sock: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    match rustix::net::sockopt::socket_error(sock)? {
        Ok(()) => Ok(None),
        Err(errno) => Ok(Some(errno.raw_os_error())),
    }
}

/// What a look at the receive queue says, without taking anything from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Data waits.
    Data,
    /// The peer has closed and everything was read; or the connection has ended and its error was taken.
    EndOfFile,
    /// No data (EAGAIN), or a signal came (EINTR): the connection is as it was.
    Nothing,
    /// recv(2) failed with this error number, which is gone from the socket now.
    Failed(i32),
}

/// Looks at the receive queue (`MSG_PEEK`, `MSG_DONTWAIT`).
#[doc(alias = "MSG_PEEK")]
pub fn peek(sock: BorrowedFd<'_>) -> Peek {
    let mut byte = [0u8];
    match recv(sock, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Peek::EndOfFile,
        Ok(_) => Peek::Data,
        Err(Errno::AGAIN | Errno::INTR) => Peek::Nothing,
        Err(errno) => Peek::Failed(errno.raw_os_error()),
    }
}

/// Bytes that the peer has not acknowledged, sent or not; also after the connection has ended.
///
/// # Errors
/// Of ioctl(2).
#[doc(alias = "SIOCOUTQ")]
pub fn unacknowledged(sock: BorrowedFd<'_>) -> io::Result<u32> {
    use std::os::fd::AsRawFd;
    let mut bytes: libc::c_int = 0;
    // SAFETY: `sock` is open for as long as it is borrowed; SIOCOUTQ (= TIOCOUTQ) writes one int, to `bytes`.
    let result = unsafe { libc::ioctl(sock.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(bytes).unwrap_or(0))
}

/// What was seen of a connection, and what only its end shows.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The facts, without the timer (which only sock_diag tells).
    pub facts: Facts,
    /// Bytes that the peer has not acknowledged ([`unacknowledged`]): unlike `facts.in_flight` it outlives
    /// the connection.
    pub unacknowledged: u32,
    /// The window that the peer last advertised, bytes (`tcpi_snd_wnd`, Linux 5.4).
    pub peer_window: Option<u32>,
}

/// Looks at a TCP socket: TCP_INFO and the lengths of its queues.
///
/// # Errors
/// Of getsockopt(2): not a TCP socket.
#[doc(alias = "TCP_INFO")]
pub fn look(sock: BorrowedFd<'_>) -> io::Result<Seen> {
    let mut buffer = [0; CAPACITY];
    let info = TcpInfo::read(sock, &mut buffer)?;
    let mut facts = Facts::new(info.state().unwrap_or(TcpState::Close));
    let unacknowledged = unacknowledged(sock).unwrap_or(0);
    facts.in_flight = unacknowledged;
    facts.unread =
        rustix::io::ioctl_fionread(sock).map_or(0, |bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
    info.fill(&mut facts);
    Ok(Seen { facts, unacknowledged, peer_window: info.peer_window() })
}
