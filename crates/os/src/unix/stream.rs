//! poll(2), recv(2), and what error numbers mean.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use deadpeer_core::TcpState;

use crate::stream::{Ending, Peek, Readiness, Seen, WithoutError};

/// Waits for `events`. A signal (EINTR) does not end the wait, and does not lengthen it.
pub(crate) fn poll_one(sock: BorrowedFd<'_>, events: PollFlags, patience: Duration) -> io::Result<PollFlags> {
    let started = Instant::now();
    let mut fds = [PollFd::from_borrowed_fd(sock, events)];
    loop {
        let left = patience.saturating_sub(started.elapsed());
        // Longer than the kernel can count is for ever.
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => return Ok(fds[0].revents()),
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

/// What poll's answer means where no error was pending; `seen` is from before the error was asked for, and
/// `finished` says whether the peer's FIN has come, where that is known.
///
/// The state counts, and not POLLRDHUP: a program's own `shutdown` of its receiving side sets that, too.
pub(crate) fn without_error(
    readiness: Readiness,
    seen: &Seen,
    finished: impl FnOnce() -> Option<bool>,
) -> WithoutError {
    match seen.facts.state {
        TcpState::CloseWait => WithoutError::PeerClosed,
        TcpState::LastAck | TcpState::Closing | TcpState::TimeWait => WithoutError::BothClosed,
        TcpState::Close if seen.established == Some(false) => WithoutError::NeverConnected,
        TcpState::Close if finished() == Some(true) => WithoutError::BothClosed,
        TcpState::Close => WithoutError::ErrorTaken,
        _ if readiness.hung_up => WithoutError::ShutHere,
        _ => WithoutError::GoesOn,
    }
}

/// Bytes that came and were not read.
pub(crate) fn unread(sock: BorrowedFd<'_>) -> u32 {
    rustix::io::ioctl_fionread(sock).map_or(0, |bytes| u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// Makes reads and writes return at once.
///
/// # Errors
/// Of ioctl(2).
pub fn set_nonblocking(sock: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(sock, true)?)
}

/// What an error number says of a connection; `None` where it does not end one.
pub fn ending(_sock: BorrowedFd<'_>, errno: i32) -> Option<Ending> {
    Some(match Errno::from_raw_os_error(errno) {
        Errno::CONNRESET => Ending::Reset,
        Errno::PIPE => Ending::Broken,
        Errno::TIMEDOUT => Ending::Silence,
        Errno::CONNABORTED => Ending::Aborted,
        Errno::CONNREFUSED => Ending::Refused,
        #[cfg(target_os = "linux")]
        Errno::NONET => Ending::Unreachable,
        // What the kernel makes of ICMP's "unreachable" messages (Linux: `icmp_err_convert` in
        // net/ipv4/icmp.c) and keeps until its timers end.
        Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::HOSTDOWN
        | Errno::NETDOWN
        | Errno::NOPROTOOPT
        | Errno::PROTO => Ending::Unreachable,
        _ => return None,
    })
}
