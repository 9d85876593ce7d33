//! A socket of another process as the place of a fault.

use std::io;
use std::os::fd::BorrowedFd;

use deadpeer_os::linux::deaf;
use deadpeer_os::linux::diag::Cookie;
use deadpeer_os::linux::foreign::Process;

/// One descriptor of another process, held by what identifies it: its process, its number, and the cookie of
/// the socket behind it. It takes ptrace(2) access to the process, and CAP_NET_ADMIN.
///
/// It holds nothing open: each fault takes the socket for a moment, and only if the descriptor still leads to
/// it.
#[derive(Clone, Debug)]
pub struct Foreign {
    process: Process,
    fd: i32,
    cookie: Cookie,
}

impl Foreign {
    /// Descriptor `fd` of process `pid`, if it leads to the socket with this cookie (`SO_COOKIE`).
    ///
    /// # Errors
    /// `NotFound` when the process or the socket is gone, `PermissionDenied` without ptrace access.
    pub fn new(pid: u32, fd: i32, cookie: u64) -> io::Result<Self> {
        let process = Process::open(pid).map_err(error)?;
        let this = Self { process, fd, cookie: Cookie(cookie) };
        this.with(|_| Ok(()))?;
        Ok(this)
    }

    /// Makes the socket deaf, as [`deafen`](crate::deafen) does. It stays so until [`Foreign::undeafen`], also
    /// when this process ends: whoever does this sees to the way back.
    ///
    /// # Errors
    /// As [`Foreign::new`] and [`deafen`](crate::deafen).
    pub fn deafen(&self) -> io::Result<()> {
        self.with(deaf::deafen)
    }

    /// Lets the socket hear again. A socket that is gone, or was not deaf, is no error.
    ///
    /// # Errors
    /// Of setsockopt(2), and without ptrace access.
    pub fn undeafen(&self) -> io::Result<()> {
        match self.with(deaf::undeafen) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn with(&self, act: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        self.process.with(self.fd, self.cookie, act).map_err(error)?
    }
}

fn error(why: impl std::fmt::Display) -> io::Error {
    let text = why.to_string();
    let kind =
        if text.contains("permission") { io::ErrorKind::PermissionDenied } else { io::ErrorKind::NotFound };
    io::Error::new(kind, text)
}
