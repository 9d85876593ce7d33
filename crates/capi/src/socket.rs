//! The caller's sockets.

use library::BorrowedSock;

use crate::error::Error;

/// The system's handle of a socket: a file descriptor; on Windows a `SOCKET`. The header defines it.
#[cfg(unix)]
pub type deadpeer_socket_t = std::ffi::c_int;
/// The system's handle of a socket: a `SOCKET`; elsewhere a file descriptor. The header defines it.
#[cfg(windows)]
pub type deadpeer_socket_t = usize;

/// The caller's socket, for as long as one call takes.
///
/// # Safety
/// A socket that is open stays open during the call. One that is not is an error (EBADF) of the first system
/// call.
#[cfg(unix)]
pub(crate) unsafe fn borrow<'s>(socket: deadpeer_socket_t) -> Result<BorrowedSock<'s>, Error> {
    if socket < 0 {
        return Err(Error::invalid(format_args!("{socket} is no socket")));
    }
    // SAFETY: it is not -1, and the caller promises the rest.
    Ok(unsafe { BorrowedSock::borrow_raw(socket) })
}

/// The caller's socket, for as long as one call takes.
///
/// # Safety
/// A socket that is open stays open during the call. One that is not is an error (WSAENOTSOCK) of the first
/// call.
#[cfg(windows)]
pub(crate) unsafe fn borrow<'s>(socket: deadpeer_socket_t) -> Result<BorrowedSock<'s>, Error> {
    const INVALID_SOCKET: usize = usize::MAX;
    if socket == INVALID_SOCKET {
        return Err(Error::invalid(format_args!("INVALID_SOCKET is no socket")));
    }
    // SAFETY: it is not INVALID_SOCKET, and the caller promises the rest.
    Ok(unsafe { BorrowedSock::borrow_raw(socket as std::os::windows::io::RawSocket) })
}
