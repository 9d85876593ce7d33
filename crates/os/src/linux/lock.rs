//! A lock between runs that ends with its holder: flock(2) on a file of the network namespace's own.
//!
//! What the lock lives on decides who can be in the way. The name of an abstract unix socket can be taken by
//! every user and every container of the namespace. The file of the namespace itself (/proc/PID/ns/net) can be
//! opened, and so locked, by every user. A file in /run needs a folder that is writable and safe, leaves
//! something behind, and is not the same file for programs with other mounts.
//!
//! /proc/sys/net/ipv4/tcp_fastopen_key belongs to one network namespace, and only those who may administer that
//! namespace can open it (its mode is 0600, its owner the namespace's root: `net_ctl_permissions`). So nobody can
//! hold the lock who could not ask, too. It is only locked, never read. Nothing is left behind.
//!
//! Programs that have mounted a /proc of their own, as containers have, see a file of their own: they don't
//! exclude each other. That is why safety does not rest on this lock: each socket is locked by itself while
//! something of it is changed ([`ask`](super::ask)). This lock keeps runs from spoiling each other's figures.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;

const FILE: &str = "/proc/sys/net/ipv4/tcp_fastopen_key";

/// The lock of a network namespace, held until this is dropped or its process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: OwnedFd,
}

impl Lock {
    /// Takes the lock of the calling thread's network namespace, or says `None` while another run holds it.
    ///
    /// # Errors
    /// Where there is no such lock: EACCES without CAP_NET_ADMIN in the namespace (or by AppArmor), ENOENT before
    /// Linux 4.15 or without /proc/sys.
    #[doc(alias = "flock")]
    pub fn take() -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = rustix::fs::openat(CWD, FILE, flags, Mode::empty())?;
        if rustix::fs::fstatfs(&file)?.f_type != PROC_SUPER_MAGIC {
            return Err(io::Error::new(io::ErrorKind::NotFound, "/proc is not mounted"));
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use deadpeer_lab::isolated;

    use super::*;
    use crate::linux::namespace::NetworkNamespace;

    #[test]
    fn one_holds_it_at_a_time_and_the_end_of_its_holder_frees_it() {
        isolated!(|| {
            let first = Lock::take().unwrap().expect("nobody else is here");
            assert!(Lock::take().unwrap().is_none());
            let elsewhere = NetworkNamespace::create().unwrap();
            assert!(elsewhere.run(Lock::take).unwrap().is_some(), "another namespace has another lock");
            let here = NetworkNamespace::current().unwrap();
            let from_there = elsewhere.run(|| here.run(Lock::take)).unwrap();
            assert!(from_there.is_none(), "from outside it is the same lock");
            drop(first);
            assert!(Lock::take().unwrap().is_some());
        });
    }
}
