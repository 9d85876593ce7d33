//! What the kernel knows of a socket of our own, without reading from it or writing to it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use deadpeer_core::{Facts, TcpState};
use rustix::event::PollFlags;

use super::receive_buffer::ReceiveBuffer;
use super::sockopt;
use super::tcp_info::{CAPACITY, TcpInfo};
pub use crate::stream::{Ending, Peek, Readiness, Seen, WithoutError};
pub use crate::unix::stream::{ending, peek, set_nonblocking, take_error};
use crate::unix::stream::{poll_one, unread};

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

/// Prepares the socket of a session: small frames leave at once (TCP_NODELAY), and the kernel takes no more than
/// 16 KiB that it can't send yet (TCP_NOTSENT_LOWAT), so that heartbeats don't wait behind megabytes.
/// A socket that takes neither, because it is no TCP socket, works as before.
pub fn prepare_session(sock: BorrowedFd<'_>) {
    const UNSENT: i32 = 16 * 1024;
    let _ = sockopt::set(sock, sockopt::TCP_NODELAY, 1);
    let _ = sockopt::set(sock, sockopt::TCP_NOTSENT_LOWAT, UNSENT);
}

/// Asks poll(2), without waiting.
///
/// # Errors
/// Of poll(2).
pub fn readiness(sock: BorrowedFd<'_>) -> io::Result<Readiness> {
    let all = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP;
    poll_one(sock, all, Duration::ZERO).map(Readiness::from)
}

/// Waits until the kernel knows the end of the connection, or for `patience`. Data does not end the wait.
///
/// # Errors
/// Of poll(2).
#[doc(alias = "POLLRDHUP")]
pub fn wait_for_end(sock: BorrowedFd<'_>, patience: Duration) -> io::Result<Readiness> {
    poll_one(sock, PollFlags::RDHUP, patience).map(Readiness::from)
}

/// Waits until the connection is over in both directions, or for `patience`. Neither data nor the peer's FIN
/// ends the wait; what waits in the error queue does.
///
/// # Errors
/// Of poll(2).
#[doc(alias = "POLLHUP")]
pub fn wait_for_over(sock: BorrowedFd<'_>, patience: Duration) -> io::Result<Readiness> {
    // POLLERR and POLLHUP come unasked.
    poll_one(sock, PollFlags::empty(), patience).map(Readiness::from)
}

/// Whether the peer's FIN has come, also where the connection has ended since and its error was taken. `None`
/// while data waits to be read, and where the kernel does not tell (MPTCP; before Linux 4.18).
///
/// `TCP_ZEROCOPY_RECEIVE` without a place to map to takes nothing, and fails with EIO where the queue is empty
/// and `SOCK_DONE` is set, which only `tcp_fin` does (`tcp_zerocopy_receive` in net/ipv4/tcp.c). A
/// structure of 16 bytes has no room for the pending error, so that stays.
#[doc(alias = "TCP_ZEROCOPY_RECEIVE")]
pub fn peer_finished(sock: BorrowedFd<'_>) -> Option<bool> {
    let mut receive = [0; 16];
    match sockopt::get_bytes(sock, sockopt::TCP_ZEROCOPY_RECEIVE, &mut receive) {
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Some(true),
        // Its last four bytes say how many bytes are there to be read.
        Ok(16) if receive[12..] == [0; 4] => Some(false),
        _ => None,
    }
}

/// As [`look`], but not in the middle of an end: poll(2) and TCP_INFO's state are read without the socket's lock,
/// so the sign of an end may be there before the state that belongs to it.
///
/// # Errors
/// As [`look`].
pub fn look_settled(sock: BorrowedFd<'_>) -> io::Result<Seen> {
    // It takes the lock, whatever it says.
    let _ = peer_finished(sock);
    look(sock)
}

/// What `readiness` means where no error was pending. `seen` is from before the error was asked for: what ended
/// in between is then told by the next look.
pub fn without_error(sock: BorrowedFd<'_>, readiness: Readiness, seen: &Seen) -> WithoutError {
    crate::unix::stream::without_error(readiness, seen, || peer_finished(sock))
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

/// Looks at a TCP socket: TCP_INFO and the lengths of its queues.
///
/// # Errors
/// Of getsockopt(2): not a TCP socket.
#[doc(alias = "TCP_INFO")]
pub fn look(sock: BorrowedFd<'_>) -> io::Result<Seen> {
    let mut buffer = [0; CAPACITY];
    let info = TcpInfo::read(sock, &mut buffer)?;
    let mut facts = Facts::new(info.state().unwrap_or(TcpState::Close));
    let unacknowledged = unacknowledged(sock).ok();
    facts.in_flight = unacknowledged.unwrap_or(0);
    facts.unread = unread(sock);
    info.fill(&mut facts);
    if !info.has_own_window()
        && let Some(buffer) = ReceiveBuffer::read(sock)
    {
        buffer.fill(info, &mut facts);
    }
    let established = info.established();
    Ok(Seen { facts, unacknowledged, established })
}
