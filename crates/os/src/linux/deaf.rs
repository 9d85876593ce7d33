//! Makes a socket deaf: socket(7), `SO_ATTACH_FILTER`.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::netlink::message::bytes_at;
use super::sockopt::{self, SO_DETACH_FILTER};

/// Attaches a classic BPF program of one instruction, `ret 0`: the kernel drops whatever arrives for `sock`
/// before TCP sees it, so nothing is acknowledged and nothing answered. What `sock` sends is untouched.
///
/// Sockets accepted from a deaf listener are deaf, too.
///
/// # Errors
/// Of setsockopt(2): `EPERM` if the socket's filter is locked (`SO_LOCK_FILTER`); or without `CAP_NET_ADMIN`
/// in the user namespace that owns the socket's network namespace. Kernels with commit 5d39580f68e6 (6.18.44
/// has it) ask for that on TCP sockets; older ones ask for nothing.
#[doc(alias = "SO_ATTACH_FILTER")]
pub fn deafen(sock: BorrowedFd<'_>) -> io::Result<()> {
    // The return value is how many bytes to keep.
    let keep_nothing = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let mut instructions = [keep_nothing];
    let program = libc::sock_fprog { len: 1, filter: instructions.as_mut_ptr() };
    // SAFETY: `sock` is open for as long as it is borrowed. The kernel reads one `sock_fprog` and, through
    // its pointer, `len` = 1 instruction; both live until the end of this function, and it keeps a copy.
    let result = unsafe {
        libc::setsockopt(
            sock.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Detaches the filter, whoever attached it.
///
/// # Errors
/// Of setsockopt(2): `ENOENT` if there is none, `EPERM` if it is locked.
#[doc(alias = "SO_DETACH_FILTER")]
pub fn undeafen(sock: BorrowedFd<'_>) -> io::Result<()> {
    sockopt::set(sock, SO_DETACH_FILTER, 0)
}

/// How many segments the kernel has dropped before TCP saw them, in the socket's life: `SK_MEMINFO_DROPS` of
/// sock_diag(7).
///
/// # Errors
/// Of getsockopt(2), for example `ENOPROTOOPT` before Linux 4.12.
#[doc(alias = "SO_MEMINFO")]
pub fn dropped(sock: BorrowedFd<'_>) -> io::Result<u32> {
    // The ninth of its 32-bit numbers.
    const DROPS: usize = 32;
    let mut buffer = [0; 64];
    let length = sockopt::get_bytes(sock, sockopt::SO_MEMINFO, &mut buffer)?;
    let drops = bytes_at(&buffer[..length], DROPS, "SK_MEMINFO_DROPS");
    drops.map(u32::from_ne_bytes).map_err(|_| io::ErrorKind::Unsupported.into())
}
