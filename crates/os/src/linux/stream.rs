//! What the kernel knows of a socket of our own, without reading from it or writing to it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use deadpeer_core::{Facts, TcpState};
use rustix::event::PollFlags;

use super::receive_buffer::ReceiveBuffer;
use super::tcp_info::{CAPACITY, TcpInfo};
pub use crate::stream::{Ending, Peek, Readiness, Seen};
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
    Ok(Seen { facts, unacknowledged, peer_window: info.peer_window() })
}
