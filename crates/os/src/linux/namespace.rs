//! Network namespaces as values, and programs that start in fresh ones (namespaces(7)).

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// A network namespace: it lives at least as long as this value, a thread, a process or a socket in it.
#[derive(Debug)]
pub struct NetworkNamespace(OwnedFd);

impl NetworkNamespace {
    /// The one of the calling thread.
    ///
    /// # Errors
    /// Of open(2) on `/proc/thread-self/ns/net`.
    pub fn current() -> io::Result<Self> {
        File::open("/proc/thread-self/ns/net").map(|file| Self(file.into()))
    }

    /// The one of a process.
    ///
    /// # Errors
    /// Of open(2) on `/proc/<pid>/ns/net`: `ENOENT` if there is no such process, `EACCES` if we may not trace
    /// it (ptrace(2)).
    pub fn of_process(process: Pid) -> io::Result<Self> {
        File::open(format!("/proc/{}/ns/net", process.as_raw_nonzero())).map(|file| Self(file.into()))
    }

    /// Makes a new one. It holds a loopback link that is down, and nothing else.
    ///
    /// # Errors
    /// Of unshare(2): `EPERM` without `CAP_SYS_ADMIN` in the caller's user namespace, `ENOSPC` beyond
    /// `user.max_net_namespaces`.
    #[doc(alias = "CLONE_NEWNET")]
    pub fn create() -> io::Result<Self> {
        // unshare(2) moves the calling thread, for good: let that be one that ends.
        on_a_thread(|| {
            unshare(UnshareFlags::NEWNET)?;
            Self::current()
        })
    }

    /// Runs `job` on a new thread inside, and waits for it.
    ///
    /// Sockets that `job` makes stay in this namespace wherever they are used later; programs that it starts
    /// run in it.
    ///
    /// # Errors
    /// Of `job`, of making a thread, and of setns(2): `EPERM` without `CAP_SYS_ADMIN` both in our own user
    /// namespace and in the one that owns this.
    ///
    /// # Panics
    /// If `job` does.
    #[doc(alias = "setns")]
    pub fn run<R: Send>(&self, job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        on_a_thread(|| {
            rustix::thread::move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))?;
            job()
        })
    }

    /// What tells it from every other namespace that exists now.
    ///
    /// # Errors
    /// Of fstat(2).
    pub fn identity(&self) -> io::Result<Identity> {
        let stat = rustix::fs::fstat(&self.0)?;
        Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Device and inode number of a namespace's file (stat(2)); reused once the namespace is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl fmt::Display for Identity {
    /// As readlink(1) shows it: `net:[4026531833]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}

fn on_a_thread<R: Send>(job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("namespace".into()).spawn_scoped(scope, job)?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Whether an isolated program gets its own user namespace (user_namespaces(7)), in which it is root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNamespace {
    /// Only if a network namespace is refused without it: for all but root.
    IfNeeded,
    /// Even for root, who then has the powers that everyone can have.
    Always,
}

/// Lets `command` start in its own network namespace (loopback is down), and makes it die with the thread
/// that starts it.
///
/// Then `command`'s `spawn` also fails with the errors of unshare(2) and of writing the user namespace's
/// maps: `EPERM` (forbidden: sysctls, AppArmor, seccomp), `ENOSPC` (`user.max_user_namespaces`), `ENOSYS` or
/// `EINVAL` (not in this kernel), `ESRCH` (we died meanwhile).
#[doc(alias = "CLONE_NEWUSER")]
#[doc(alias = "PR_SET_PDEATHSIG")]
pub fn isolate(command: &mut Command, user: UserNamespace) {
    // All memory is made here, before the fork.
    let uid_map = format!("0 {} 1", rustix::process::geteuid().as_raw());
    let gid_map = format!("0 {} 1", rustix::process::getegid().as_raw());
    let parent = rustix::process::getpid();
    let in_the_child = move || {
        let privileged = match user {
            UserNamespace::IfNeeded => unshare(UnshareFlags::NEWNET),
            UserNamespace::Always => Err(Errno::PERM),
        };
        match privileged {
            Err(Errno::PERM) => {
                unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
                // Without this the kernel lets only the privileged write a gid_map.
                write(c"/proc/self/setgroups", b"deny")?;
                write(c"/proc/self/uid_map", uid_map.as_bytes())?;
                write(c"/proc/self/gid_map", gid_map.as_bytes())?;
            }
            other => other?,
        }
        // Behind unshare(2): a change of credentials may clear it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before that.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: `in_the_child` runs between fork(2) and execve(2), where other threads' locks may be held for
    // ever. It only makes system calls, on memory that exists already: it neither allocates nor locks nor
    // drops (an `io::Error` of an error number owns nothing).
    unsafe { command.pre_exec(in_the_child) };
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: unshare(2) can only harm threads that share descriptors, which takes `UnshareFlags::FILES`; the
    // callers in this file don't pass it.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Opens, writes, closes; makes no other call and allocates nothing.
fn write(path: &CStr, value: &[u8]) -> rustix::io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value).map(|_| ())
}
