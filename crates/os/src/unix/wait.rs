//! Waiting for a socket or for another thread: poll(2).

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(not(target_os = "linux"))]
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::event::{EventfdFlags, eventfd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Ends another thread's [`wait`].
#[derive(Debug)]
pub struct Waker {
    read: End,
    /// An eventfd is its own other end.
    #[cfg(not(target_os = "linux"))]
    write: End,
}

#[cfg(target_os = "linux")]
type End = OwnedFd;
#[cfg(not(target_os = "linux"))]
type End = UnixStream;

impl Waker {
    /// # Errors
    /// Of eventfd(2), elsewhere of socketpair(2): no descriptor is left.
    pub fn new() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        return Ok(Self { read: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? });
        #[cfg(not(target_os = "linux"))]
        {
            let (read, write) = UnixStream::pair()?;
            read.set_nonblocking(true)?;
            write.set_nonblocking(true)?;
            Ok(Self { read, write })
        }
    }

    /// Wakes the waiting thread, or the next that waits. What is full already wakes it all the same.
    pub fn wake(&self) {
        #[cfg(target_os = "linux")]
        let write = &self.read;
        #[cfg(not(target_os = "linux"))]
        let write = &self.write;
        let _ = rustix::io::write(write, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        // All that was written: an eventfd gives it at once, a socket piece by piece.
        while matches!(rustix::io::read(&self.read, &mut [0; 64]), Ok(64)) {}
    }
}

/// Waits until `sock` can be read or written, as far as that is wanted; until it has ended; until somebody
/// wakes this thread; or for `patience`, for ever without one. A signal ends the wait, too.
///
/// Returns whether something is to be seen on the socket.
///
/// # Errors
/// Of poll(2).
pub fn wait(
    sock: BorrowedFd<'_>,
    read: bool,
    write: bool,
    waker: Option<&Waker>,
    patience: Option<Duration>,
) -> io::Result<bool> {
    let mut events = PollFlags::empty();
    events.set(PollFlags::IN, read);
    events.set(PollFlags::OUT, write);
    // A millisecond more, or a deadline would be missed by less than that again and again.
    let timeout = patience.and_then(|wait| Timespec::try_from(wait + Duration::from_millis(1)).ok());
    let socket = PollFd::from_borrowed_fd(sock, events);
    let Some(waker) = waker else {
        return Ok(!polled([socket], timeout.as_ref())?[0].is_empty());
    };
    let woken = PollFd::from_borrowed_fd(waker.read.as_fd(), PollFlags::IN);
    let [socket, woken] = polled([socket, woken], timeout.as_ref())?;
    if !woken.is_empty() {
        waker.clear();
    }
    Ok(!socket.is_empty())
}

fn polled<const N: usize>(
    mut fds: [PollFd<'_>; N],
    timeout: Option<&Timespec>,
) -> io::Result<[PollFlags; N]> {
    match poll(&mut fds, timeout) {
        Ok(_) => Ok(fds.map(|fd| fd.revents())),
        Err(Errno::INTR) => Ok([PollFlags::empty(); N]),
        Err(errno) => Err(errno.into()),
    }
}
