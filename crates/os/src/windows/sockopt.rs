//! getsockopt and setsockopt of Winsock, by number.

use std::io;
use std::os::windows::io::{AsRawSocket, BorrowedSocket};

use windows_sys::Win32::Networking::WinSock as ws;

pub use crate::option::Name;
use crate::option::names;

names! {
    SO_KEEPALIVE = ws::SOL_SOCKET, ws::SO_KEEPALIVE;
    SO_RCVTIMEO = ws::SOL_SOCKET, ws::SO_RCVTIMEO;
    SO_SNDTIMEO = ws::SOL_SOCKET, ws::SO_SNDTIMEO;
    SO_ERROR = ws::SOL_SOCKET, ws::SO_ERROR;
    // Windows 10 1709.
    TCP_KEEPIDLE = ws::IPPROTO_TCP, ws::TCP_KEEPIDLE;
    TCP_NODELAY = ws::IPPROTO_TCP, ws::TCP_NODELAY;
    TCP_KEEPINTVL = ws::IPPROTO_TCP, ws::TCP_KEEPINTVL;
    // Windows 10 1703.
    TCP_KEEPCNT = ws::IPPROTO_TCP, ws::TCP_KEEPCNT;
    TCP_MAXRT = ws::IPPROTO_TCP, ws::TCP_MAXRT;
}

/// Reads an integer option. One of a single byte (`BOOLEAN`) is widened.
pub fn get(sock: BorrowedSocket<'_>, option: Name) -> io::Result<i32> {
    let mut value = 0i32;
    let mut length = size_of::<i32>() as i32;
    // SAFETY: `sock` is open for as long as it is borrowed; Winsock writes at most `length` bytes to `value`,
    // which has as many.
    let result = unsafe {
        ws::getsockopt(raw(sock), option.level, option.number, (&raw mut value).cast(), &mut length)
    };
    checked(result).map(|()| value)
}

/// Sets an integer option.
pub fn set(sock: BorrowedSocket<'_>, option: Name, value: i32) -> io::Result<()> {
    let length = size_of::<i32>() as i32;
    // SAFETY: `sock` is open for as long as it is borrowed; Winsock reads `length` bytes of `value`.
    let result =
        unsafe { ws::setsockopt(raw(sock), option.level, option.number, (&raw const value).cast(), length) };
    checked(result)
}

pub(super) fn raw(sock: BorrowedSocket<'_>) -> ws::SOCKET {
    sock.as_raw_socket() as ws::SOCKET
}

/// Winsock's errors are the thread's last error, which std reads.
pub(super) fn checked(result: i32) -> io::Result<()> {
    if result == ws::SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether an error says that this Windows has no such option or ioctl.
pub(super) fn is_not_known(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ws::WSAENOPROTOOPT | ws::WSAEINVAL | ws::WSAEOPNOTSUPP))
}
