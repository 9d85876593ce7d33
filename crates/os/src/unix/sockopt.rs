//! getsockopt(2) and setsockopt(2) for options that rustix does not know, by number.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

pub use crate::option::Name;

/// Reads an integer option.
pub fn get(sock: BorrowedFd<'_>, option: Name) -> io::Result<i32> {
    let mut value = 0i32.to_ne_bytes();
    let length = get_bytes(sock, option, &mut value)?;
    if length != size_of::<i32>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "getsockopt returned an unexpected length"));
    }
    Ok(i32::from_ne_bytes(value))
}

/// Reads an option's bytes into `value`; returns how many the kernel wrote (structures grow with it).
pub fn get_bytes(sock: BorrowedFd<'_>, option: Name, value: &mut [u8]) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: `sock` is open for as long as it is borrowed; the kernel writes at most `length` bytes, and
    // `value` has as many; any bytes are valid `u8`s.
    let result = unsafe {
        libc::getsockopt(
            sock.as_raw_fd(),
            option.level,
            option.number,
            value.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((length as usize).min(value.len()))
}

/// Sets an integer option.
pub fn set(sock: BorrowedFd<'_>, option: Name, value: i32) -> io::Result<()> {
    let value = value.to_ne_bytes();
    let length = value.len() as libc::socklen_t;
    // SAFETY: `sock` is open for as long as it is borrowed; the kernel reads `length` bytes of `value`.
    let result = unsafe {
        libc::setsockopt(sock.as_raw_fd(), option.level, option.number, value.as_ptr().cast(), length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
