//! Network namespaces as values, and programs that start in fresh ones (namespaces(7)).

use std::ffi::{CStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
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

    /// The one that a file leads to: of a process or thread, a mounted one, or a descriptor of a process.
    ///
    /// # Errors
    /// Of open(2); `InvalidInput` where the file is none of a network namespace.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        // What is there may be anything, a FIFO that waits for its other end among it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path.as_ref(), flags, Mode::empty())?;
        match rustix::fs::fstatfs(&file)?.f_type == NSFS_MAGIC && is_network(&file) {
            true => Ok(Self(file)),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "no network namespace")),
        }
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

    /// Its inode number, as lsns(8) shows it.
    ///
    /// # Errors
    /// Of fstat(2).
    pub fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.0)?.st_ino)
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

/// linux/magic.h
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// `NS_GET_NSTYPE` in ioctl_nsfs(2).
fn is_network(namespace: &OwnedFd) -> bool {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the descriptor is open, and of nsfs, where this call takes no argument and touches no memory.
    unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) == libc::CLONE_NEWNET }
}

/// A network namespace that is mounted as a file, as ip-netns(8) and container engines keep them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Its inode number.
    pub inode: u64,
    /// Where it is mounted.
    pub path: PathBuf,
}

/// The network namespaces that are mounted somewhere, as this process sees the mounts.
///
/// # Errors
/// When /proc is not mounted.
pub fn mounted() -> io::Result<Vec<Mounted>> {
    let mounts = std::fs::read("/proc/self/mountinfo")?;
    Ok(mounts.split(|&byte| byte == b'\n').filter_map(mounted_by).collect())
}

/// Reads a line of /proc/PID/mountinfo (proc_pid_mountinfo(5)): the root of a mount of nsfs names the namespace.
fn mounted_by(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|&byte| byte == b' ').skip(3);
    let (root, at) = (fields.next()?, fields.next()?);
    let inode = std::str::from_utf8(root).ok()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()?;
    Some(Mounted { inode, path: OsString::from_vec(unescaped(at)).into() })
}

/// With blanks, tabs, newlines and backslashes for their octal escapes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal =
            after.get(..3).filter(|digits| first == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        match octal {
            Some(digits) => {
                plain.push(
                    digits.iter().fold(0u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &after[3..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted_network_namespaces_are_told_from_everything_else() {
        let line = b"90 60 0:4 net:[4026532178] /run/netns/a\\040b rw shared:47 - nsfs nsfs rw";
        let found = mounted_by(line).unwrap();
        assert_eq!((found.inode, found.path.to_str()), (4_026_532_178, Some("/run/netns/a b")));
        let others: [&[u8]; 5] = [
            b"90 60 0:4 mnt:[4026532178] /run/mnt rw - nsfs nsfs rw",
            b"22 1 0:20 / /proc rw - proc proc rw",
            b"90 60 0:4 net:[x] /run/netns/a rw - nsfs nsfs rw",
            b"90 60 0:4",
            b"",
        ];
        for other in others {
            assert_eq!(mounted_by(other), None);
        }
        assert_eq!(unescaped(br"\134\011\09\"), b"\\\t\\09\\");
    }

    #[test]
    fn only_a_network_namespaces_file_leads_to_one() {
        assert!(NetworkNamespace::at("/proc/self/ns/net").is_ok());
        let kind = |path: &Path| NetworkNamespace::at(path).unwrap_err().kind();
        for other in ["/proc/self/ns/uts", "/dev/null", "/proc/self/status"] {
            assert_eq!(kind(Path::new(other)), io::ErrorKind::InvalidInput, "{other}");
        }
        assert_eq!(kind(Path::new("/nowhere")), io::ErrorKind::NotFound);
        let folder = std::env::temp_dir().join(format!("deadpeer-fifo-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let fifo = folder.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(kind(&fifo), io::ErrorKind::InvalidInput, "and it is not waited for");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
