//! The caller's sockets.

use std::os::fd::BorrowedFd;

use crate::error::Error;

/// The system's handle of a socket: a file descriptor; on Windows a `SOCKET`. The header defines it.
pub type deadpeer_socket_t = std::ffi::c_int;

/// The caller's socket, for as long as one call takes.
///
/// # Safety
/// A socket that is open stays open during the call. One that is not is an error (EBADF) of the first system
/// call.
pub(crate) unsafe fn borrow<'s>(socket: deadpeer_socket_t) -> Result<BorrowedFd<'s>, Error> {
    if socket < 0 {
        return Err(Error::invalid(format_args!("{socket} is no socket")));
    }
    // SAFETY: it is not -1, and the caller promises the rest.
    Ok(unsafe { BorrowedFd::borrow_raw(socket) })
}
