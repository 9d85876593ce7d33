//! A socket that somebody lends: a descriptor, or Windows' handle.

#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(windows)]
use std::os::windows::io::{AsSocket, BorrowedSocket};

/// A socket that is open for as long as it is borrowed: `BorrowedFd`, on Windows `BorrowedSocket`.
#[cfg(unix)]
pub type BorrowedSock<'a> = BorrowedFd<'a>;
/// A socket that is open for as long as it is borrowed: `BorrowedSocket`, elsewhere `BorrowedFd`.
#[cfg(windows)]
pub type BorrowedSock<'a> = BorrowedSocket<'a>;

/// What lends a socket: whatever is `AsFd`, on Windows whatever is `AsSocket`. The streams and listeners of
/// std, socket2 and tokio are.
pub trait AsSock {
    /// Lends it.
    fn as_sock(&self) -> BorrowedSock<'_>;
}

#[cfg(unix)]
impl<S: AsFd + ?Sized> AsSock for S {
    fn as_sock(&self) -> BorrowedSock<'_> {
        self.as_fd()
    }
}

#[cfg(windows)]
impl<S: AsSocket + ?Sized> AsSock for S {
    fn as_sock(&self) -> BorrowedSock<'_> {
        self.as_socket()
    }
}
