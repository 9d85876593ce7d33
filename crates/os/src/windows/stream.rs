//! What Windows knows of a socket of our own, without taking data from it or writing to it.

use std::io;
use std::os::windows::io::BorrowedSocket;
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_core::{Facts, Known, TcpState, Why};
use windows_sys::Win32::Foundation as win;
use windows_sys::Win32::Networking::WinSock as ws;

use super::ioctl;
use super::sockopt::{self, checked, is_not_known, raw};
use super::tcp_info::TcpInfo;
use super::wait::poll;
pub use crate::stream::{Ending, Peek, Readiness, Seen, WithoutError};

/// Prepares the socket of a session: small frames leave at once (TCP_NODELAY).
/// A socket that takes neither, because it is no TCP socket, works as before.
pub fn prepare_session(sock: BorrowedSocket<'_>) {
    let _ = sockopt::set(sock, sockopt::TCP_NODELAY, 1);
}

/// Asks WSAPoll, without waiting.
///
/// # Errors
/// Of WSAPoll.
pub fn readiness(sock: BorrowedSocket<'_>) -> io::Result<Readiness> {
    let mut polled = [entry(sock, ws::POLLIN | ws::POLLOUT)];
    poll(&mut polled, Some(Duration::ZERO))?;
    Ok(readiness_of(polled[0].revents))
}

/// Waits until Windows knows the end of the connection, or for `patience`. Data does not end the wait.
///
/// # Errors
/// Of WSAPoll.
pub fn wait_for_end(sock: BorrowedSocket<'_>, patience: Duration) -> io::Result<Readiness> {
    /// Urgent data is asked for, since WSAPoll wants something asked for; it is no end.
    const URGENT_AGAIN: Duration = Duration::from_millis(50);
    let started = Instant::now();
    loop {
        let left = patience.saturating_sub(started.elapsed());
        let mut polled = [entry(sock, ws::POLLRDBAND)];
        poll(&mut polled, Some(left))?;
        let readiness = readiness_of(polled[0].revents);
        if readiness.is_end() || started.elapsed() >= patience {
            return Ok(readiness);
        }
        if polled[0].revents != 0 {
            thread::sleep(left.min(URGENT_AGAIN));
        }
    }
}

/// Waits as [`wait_for_end`] does: Windows has no sign of its own for the end of both directions.
///
/// # Errors
/// Of WSAPoll.
pub fn wait_for_over(sock: BorrowedSocket<'_>, patience: Duration) -> io::Result<Readiness> {
    wait_for_end(sock, patience)
}

/// Whether the peer's FIN has come. `None`: once a connection has ended, Windows does not tell.
pub fn peer_finished(_sock: BorrowedSocket<'_>) -> Option<bool> {
    None
}

/// As [`look`].
///
/// # Errors
/// As [`look`].
pub fn look_settled(sock: BorrowedSocket<'_>) -> io::Result<Seen> {
    look(sock)
}

/// What `readiness` means where no error was pending. The state does not count, since Windows before 1703 does
/// not tell it.
pub fn without_error(_sock: BorrowedSocket<'_>, readiness: Readiness, _seen: &Seen) -> WithoutError {
    match readiness.hung_up {
        true => WithoutError::PeerClosed,
        false => WithoutError::GoesOn,
    }
}

pub(super) fn entry(sock: BorrowedSocket<'_>, events: i16) -> ws::WSAPOLLFD {
    ws::WSAPOLLFD { fd: raw(sock), events, revents: 0 }
}

/// POLLHUP is "disconnected or aborted": the peer's close alone says so, too
/// (<https://learn.microsoft.com/windows/win32/api/winsock2/ns-winsock2-wsapollfd>).
fn readiness_of(revents: i16) -> Readiness {
    let has = |flags: i16| revents & flags != 0;
    Readiness {
        readable: has(ws::POLLIN),
        writable: has(ws::POLLOUT),
        peer_closed: has(ws::POLLHUP),
        hung_up: has(ws::POLLHUP),
        error: has(ws::POLLERR),
    }
}

/// The error that ended the connection: `SO_ERROR`, which a failed connect leaves there, or what a read would
/// meet. The latter stays, unlike on Unix: the next read meets it, too.
///
/// # Errors
/// Of getsockopt.
#[doc(alias = "SO_ERROR")]
pub fn take_error(sock: BorrowedSocket<'_>) -> io::Result<Option<i32>> {
    match sockopt::get(sock, sockopt::SO_ERROR)? {
        0 => Ok(match peek(sock) {
            Peek::Failed(errno) => Some(errno),
            _ => None,
        }),
        errno => Ok(Some(errno)),
    }
}

/// Looks at the receive queue. Winsock's recv has no MSG_DONTWAIT, so it is called only where it can't wait:
/// after the end, when all that is left is data, end of file or an error.
#[doc(alias = "MSG_PEEK")]
pub fn peek(sock: BorrowedSocket<'_>) -> Peek {
    if ioctl::unread(sock).is_ok_and(|bytes| bytes > 0) {
        return Peek::Data;
    }
    match readiness(sock) {
        Ok(readiness) if readiness.is_end() => {}
        Ok(_) => return Peek::Nothing,
        Err(error) => return Peek::Failed(error.raw_os_error().unwrap_or(0)),
    }
    let mut byte = 0u8;
    // SAFETY: `sock` is open for as long as it is borrowed; Winsock writes at most one byte, to `byte`.
    let length = unsafe { ws::recv(raw(sock), &raw mut byte, 1, ws::MSG_PEEK) };
    match (checked(length), length) {
        (Ok(()), 0) => Peek::EndOfFile,
        (Ok(()), _) => Peek::Data,
        (Err(error), _) => match error.raw_os_error() {
            Some(ws::WSAEWOULDBLOCK) => Peek::Nothing,
            errno => Peek::Failed(errno.unwrap_or(0)),
        },
    }
}

/// Makes reads and writes return at once.
///
/// # Errors
/// Of ioctlsocket.
pub fn set_nonblocking(sock: BorrowedSocket<'_>) -> io::Result<()> {
    ioctl::set_nonblocking(sock)
}

/// Looks at a TCP socket: `SIO_TCP_INFO` and its receive queue.
///
/// Before Windows 10 1703 only whether it is connected is known.
///
/// # Errors
/// Of WSAIoctl: not a TCP socket.
#[doc(alias = "SIO_TCP_INFO")]
pub fn look(sock: BorrowedSocket<'_>) -> io::Result<Seen> {
    let mut facts = Facts::new(TcpState::Close);
    for age in [&mut facts.last_heard, &mut facts.last_received, &mut facts.last_sent] {
        *age = Known::Not(Why::NotOnThisKernel);
    }
    facts.segments_in = Known::Not(Why::NotOnThisKernel);
    facts.unread = ioctl::unread(sock).unwrap_or(0);
    let unacknowledged = match TcpInfo::read(sock) {
        Ok(info) => {
            info.fill(&mut facts);
            Some(info.in_flight)
        }
        Err(error) if is_not_known(&error) => {
            facts.own_window = Known::Not(Why::NotOnThisKernel);
            if is_connected(sock) {
                facts.state = TcpState::Established;
            }
            None
        }
        Err(error) => return Err(error),
    };
    Ok(Seen { facts, unacknowledged, established: None })
}

/// Whether it has a peer.
fn is_connected(sock: BorrowedSocket<'_>) -> bool {
    // As large as any address.
    let mut address = [0u64; size_of::<ws::SOCKADDR_STORAGE>() / size_of::<u64>()];
    let mut length = size_of_val(&address) as i32;
    // SAFETY: `sock` is open for as long as it is borrowed; Winsock writes at most `length` bytes, and
    // `address` has as many, aligned for any address.
    checked(unsafe { ws::getpeername(raw(sock), address.as_mut_ptr().cast(), &mut length) }).is_ok()
}

/// Whether WSAETIMEDOUT was the program's own patience: that of `set_read_timeout` has the same number here.
fn is_patience(sock: BorrowedSocket<'_>) -> bool {
    let patience = [sockopt::SO_RCVTIMEO, sockopt::SO_SNDTIMEO];
    patience.iter().any(|&option| sockopt::get(sock, option).is_ok_and(|ms| ms != 0))
        && readiness(sock).is_ok_and(|readiness| !readiness.is_end())
}

/// What an error number says of a connection; `None` where it does not end one. Completion ports and files
/// give Win32's numbers for the same (`RtlNtStatusToDosError`), so those are here, too.
pub fn ending(sock: BorrowedSocket<'_>, errno: i32) -> Option<Ending> {
    if let Ok(errno) = u32::try_from(errno) {
        match errno {
            win::ERROR_NETNAME_DELETED => return Some(Ending::Reset), // STATUS_CONNECTION_RESET
            win::ERROR_SEM_TIMEOUT => return Some(Ending::Silence),   // STATUS_IO_TIMEOUT
            win::ERROR_CONNECTION_ABORTED => return Some(Ending::AbortedOrSilence),
            win::ERROR_HOST_UNREACHABLE | win::ERROR_NETWORK_UNREACHABLE | win::ERROR_PORT_UNREACHABLE => {
                return Some(Ending::Unreachable);
            }
            win::ERROR_CONNECTION_REFUSED => return Some(Ending::Refused),
            _ => {}
        }
    }
    Some(match errno {
        ws::WSAECONNRESET => Ending::Reset,
        ws::WSAESHUTDOWN => Ending::Broken,
        ws::WSAETIMEDOUT if is_patience(sock) => return None,
        ws::WSAETIMEDOUT => Ending::Silence,
        // "broken due to keep-alive activity detecting a failure"
        ws::WSAENETRESET => Ending::Keepalive,
        // "aborted by the software in your host computer, possibly due to a data transmission time-out"
        ws::WSAECONNABORTED => Ending::AbortedOrSilence,
        ws::WSAECONNREFUSED => Ending::Refused,
        ws::WSAEHOSTUNREACH | ws::WSAENETUNREACH | ws::WSAEHOSTDOWN | ws::WSAENETDOWN => Ending::Unreachable,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::windows::io::AsSocket;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn completions_and_calls_have_numbers_of_their_own_for_one_end() {
        let (client, _server) = pair();
        for (errno, expected) in [
            (64, Some(Ending::Reset)),
            (10054, Some(Ending::Reset)),
            (121, Some(Ending::Silence)),
            (10060, Some(Ending::Silence)),
            (10052, Some(Ending::Keepalive)),
            (10053, Some(Ending::AbortedOrSilence)),
            (10035, None), // WSAEWOULDBLOCK
            (997, None),   // ERROR_IO_PENDING
        ] {
            assert_eq!(ending(client.as_socket(), errno), expected, "{errno}");
        }
    }

    #[test]
    fn ones_own_patience_is_no_end() {
        let (mut client, _server) = pair();
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let errno = client.read(&mut [0]).unwrap_err().raw_os_error().unwrap();
        assert_eq!((errno, ending(client.as_socket(), errno)), (ws::WSAETIMEDOUT, None));
    }

    #[test]
    fn peeking_neither_waits_nor_takes() {
        let (mut client, mut server) = pair();
        assert_eq!(peek(client.as_socket()), Peek::Nothing);
        server.write_all(b"x").unwrap();
        while peek(client.as_socket()) != Peek::Data {
            thread::yield_now();
        }
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 1);
        drop(server);
        let end = wait_for_end(client.as_socket(), Duration::from_secs(10)).unwrap();
        assert!(end.is_end(), "{end:?}");
        assert_eq!(peek(client.as_socket()), Peek::EndOfFile);
        assert_eq!(take_error(client.as_socket()).unwrap(), None);
    }
}
