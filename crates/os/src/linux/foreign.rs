//! A socket of another process: duplicated, used at once, closed.
//!
//! While we hold a duplicate, the owner's close(2) sends no FIN and its epoll goes on reporting the
//! descriptor (measured, Linux 6.18). So a duplicate lives only inside [`Process::with`]: "never held across
//! a wait" is the signature, as long as what is passed in does not wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use deadpeer_core::Why;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::ipproto;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

use super::descriptors::Table;
use super::diag::Cookie;

/// A process, held by a pidfd so that its number can't come to mean another one.
#[derive(Clone, Debug)]
pub struct Process {
    /// Of the process, or of the thread whose table holds the socket.
    pidfd: Arc<OwnedFd>,
}

/// `PIDFD_THREAD` in linux/pidfd.h, Linux 6.9.
const OF_A_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(OFlags::EXCL.bits());

impl Process {
    /// Takes hold of process `pid`.
    ///
    /// # Errors
    /// [`Why::SocketGone`] when it has exited, [`Why::NotOnThisKernel`] before Linux 5.3.
    pub fn open(pid: u32) -> Result<Self, Why> {
        Self::hold(pid, PidfdFlags::empty()).map_err(reason)
    }

    /// Takes hold of a descriptor table: of a process, or of a thread that has its own or that has outlived its
    /// leader, whose pidfd gives nothing then.
    ///
    /// # Errors
    /// As [`Process::open`]; of a thread [`Why::NotOnThisKernel`] before Linux 6.9.
    #[doc(alias = "PIDFD_THREAD")]
    pub fn of_table(table: Table) -> Result<Self, Why> {
        let Some(tid) = table.tid else { return Self::open(table.pid) };
        Self::hold(tid, OF_A_THREAD).map_err(|errno| match errno {
            Errno::INVAL => Why::NotOnThisKernel,
            other => reason(other),
        })
    }

    fn hold(id: u32, flags: PidfdFlags) -> Result<Self, Errno> {
        let id = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        Ok(Self { pidfd: Arc::new(rustix::process::pidfd_open(id, flags)?) })
    }

    /// Duplicates descriptor `fd` of this process, and calls `act` with it if it still is the socket that
    /// `cookie` names.
    ///
    /// `act` must not wait. Closing the duplicate never blocks this thread.
    ///
    /// # Errors
    /// [`Why::NoPermission`] without ptrace access (PTRACE_MODE_ATTACH_REALCREDS, ptrace(2)),
    /// [`Why::SocketGone`], [`Why::DescriptorReused`], [`Why::Multipath`], [`Why::NotOnThisKernel`] before
    /// Linux 5.6.
    #[doc(alias = "pidfd_getfd")]
    pub fn with<R>(&self, fd: i32, cookie: Cookie, act: impl FnOnce(BorrowedFd<'_>) -> R) -> Result<R, Why> {
        let duplicate = rustix::process::pidfd_getfd(&*self.pidfd, fd, PidfdGetfdFlags::empty());
        let sock = Duplicate(Some(duplicate.map_err(reason)?));
        let Some(sock) = &sock.0 else { return Err(Why::SocketGone) };
        match rustix::net::sockopt::socket_cookie(sock) {
            Ok(found) if found == cookie.0 => Ok(act(sock.as_fd())),
            Ok(_) if is_multipath(sock) => Err(Why::Multipath),
            // Another socket, or no socket at all (ENOTSOCK).
            Ok(_) | Err(_) => Err(Why::DescriptorReused),
        }
    }
}

/// An MPTCP socket shares its inode with its subflows, which are TCP sockets of their own
/// (`mptcp_subflow_create_socket` in net/mptcp/subflow.c).
fn is_multipath(sock: &OwnedFd) -> bool {
    matches!(rustix::net::sockopt::socket_protocol(sock), Ok(Some(ipproto::MPTCP)))
}

fn reason(errno: Errno) -> Why {
    match errno {
        Errno::PERM | Errno::ACCESS => Why::NoPermission,
        Errno::SRCH => Why::SocketGone,
        Errno::BADF => Why::DescriptorReused,
        Errno::NOSYS => Why::NotOnThisKernel,
        _ => Why::Failed,
    }
}

/// Closes the duplicate. If the owner has closed its own descriptor meanwhile, ours is the last: with
/// SO_LINGER set, close(2) would then wait for the peer for seconds, so such a one is closed elsewhere.
struct Duplicate(Option<OwnedFd>);

impl Drop for Duplicate {
    fn drop(&mut self) {
        let Some(sock) = self.0.take() else { return };
        if let Ok(Some(_)) = rustix::net::sockopt::socket_linger(&sock) {
            // Without a thread (EAGAIN) the closure is dropped here, which closes after all.
            let _ = std::thread::Builder::new().name("deadpeer-close".into()).spawn(move || drop(sock));
        }
    }
}

/// Says whether this process may do what [`Process::with`] needs at all: duplicate a descriptor of itself.
///
/// # Errors
/// The system call's: ENOSYS before Linux 5.6, EPERM where a container's seccomp filter forbids it.
pub fn available() -> io::Result<()> {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let copy =
        rustix::process::pidfd_getfd(&own, rustix::fd::AsRawFd::as_raw_fd(&own), PidfdGetfdFlags::empty())?;
    drop(copy);
    Ok(())
}
