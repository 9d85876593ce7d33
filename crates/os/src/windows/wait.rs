//! Waiting for a socket or for another thread: WSAPoll.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::windows::io::{AsSocket, BorrowedSocket};
use std::time::Duration;

use windows_sys::Win32::Networking::WinSock as ws;

use super::sockopt::checked;
use super::stream::entry;

/// Ends another thread's [`wait`]: a datagram to oneself, since WSAPoll waits for sockets only.
#[derive(Debug)]
pub struct Waker {
    socket: UdpSocket,
}

impl Waker {
    /// # Errors
    /// No socket is left, or there is no loopback.
    pub fn new() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // From now on it hears nobody else.
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Wakes the waiting thread, or the next that waits. What is full already wakes it all the same.
    pub fn wake(&self) {
        let _ = self.socket.send(&[0]);
    }

    fn clear(&self) {
        while self.socket.recv(&mut [0; 8]).is_ok() {}
    }
}

/// Waits until `sock` can be read or written, as far as that is wanted; until it has ended; until somebody
/// wakes this thread; or for `patience`, for ever without one.
///
/// Returns whether something is to be seen on the socket.
///
/// # Errors
/// Of WSAPoll.
pub fn wait(
    sock: BorrowedSocket<'_>,
    read: bool,
    write: bool,
    waker: Option<&Waker>,
    patience: Option<Duration>,
) -> io::Result<bool> {
    let events = if read { ws::POLLRDNORM } else { 0 } | if write { ws::POLLOUT } else { 0 };
    // WSAPoll wants something asked for.
    let events = if events == 0 { ws::POLLRDBAND } else { events };
    // A millisecond more, or a deadline would be missed by less than that again and again.
    let patience = patience.map(|wait| wait.saturating_add(Duration::from_millis(1)));
    let Some(waker) = waker else {
        let mut polled = [entry(sock, events)];
        poll(&mut polled, patience)?;
        return Ok(polled[0].revents != 0);
    };
    let mut polled = [entry(sock, events), entry(waker.socket.as_socket(), ws::POLLRDNORM)];
    poll(&mut polled, patience)?;
    if polled[1].revents != 0 {
        waker.clear();
    }
    Ok(polled[0].revents != 0)
}

/// Polls sockets that are open for as long as `polled` is used.
pub(super) fn poll(polled: &mut [ws::WSAPOLLFD], patience: Option<Duration>) -> io::Result<()> {
    // Longer than can be counted is for ever.
    let timeout = patience.map_or(-1, |wait| i32::try_from(wait.as_millis()).unwrap_or(-1));
    let count = u32::try_from(polled.len()).unwrap_or(u32::MAX);
    // SAFETY: Winsock reads and writes `count` entries, and there are as many. A number that is no socket's
    // is an error and no harm.
    checked(unsafe { ws::WSAPoll(polled.as_mut_ptr(), count, timeout) })
}
