//! getsockopt(2) and setsockopt(2) for options that rustix does not know, by number.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// An option: its level, its number, and its name for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    level: i32,
    number: i32,
    name: &'static str,
}

impl Name {
    /// The kernel's name, `TCP_KEEPIDLE`.
    pub const fn as_str(self) -> &'static str {
        self.name
    }
}

macro_rules! names {
    ($($name:ident = $level:expr, $number:expr;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`")]
            pub const $name: Name = Name { level: $level, number: $number, name: stringify!($name) };
        )*
    };
}

names! {
    SO_REUSEADDR = libc::SOL_SOCKET, libc::SO_REUSEADDR;
    SO_KEEPALIVE = libc::SOL_SOCKET, libc::SO_KEEPALIVE;
    SO_ATTACH_FILTER = libc::SOL_SOCKET, libc::SO_ATTACH_FILTER;
    SO_DETACH_FILTER = libc::SOL_SOCKET, libc::SO_DETACH_FILTER;
    TCP_KEEPIDLE = libc::IPPROTO_TCP, libc::TCP_KEEPIDLE;
    TCP_KEEPINTVL = libc::IPPROTO_TCP, libc::TCP_KEEPINTVL;
    TCP_KEEPCNT = libc::IPPROTO_TCP, libc::TCP_KEEPCNT;
    TCP_LINGER2 = libc::IPPROTO_TCP, libc::TCP_LINGER2;
    TCP_INFO = libc::IPPROTO_TCP, libc::TCP_INFO;
    TCP_USER_TIMEOUT = libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT;
    TCP_REPAIR = libc::IPPROTO_TCP, libc::TCP_REPAIR;
    // linux/tcp.h since 6.15; libc does not know it yet.
    TCP_RTO_MAX_MS = libc::IPPROTO_TCP, 44;
}

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
    set_bytes(sock, option, &value.to_ne_bytes())
}

/// Sets an option that takes plain bytes, of which none is an address.
pub(super) fn set_bytes(sock: BorrowedFd<'_>, option: Name, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: `sock` is open for as long as it is borrowed; the kernel reads `length` bytes of `value`.
    let result = unsafe {
        libc::setsockopt(sock.as_raw_fd(), option.level, option.number, value.as_ptr().cast(), length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
