//! Descriptor tables, and the sockets and namespaces in them: /proc/PID/fd and /proc/PID/task/TID/fd (proc(5)).
//!
//! Usually all threads of a process share one table, the one of the thread group's leader. A thread can have a
//! table of its own (unshare(2) with CLONE_FILES), and when the leader has exited before the other threads, its
//! folder is empty though theirs are not.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use deadpeer_core::Why;
use rustix::fs::{CWD, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::process;

/// A descriptor table, named by a thread that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table {
    /// The process.
    pub pid: u32,
    /// A thread of it, where the table is not the leader's.
    pub tid: Option<u32>,
}

impl Table {
    /// Its folder in /proc.
    pub fn folder(self) -> String {
        let pid = self.pid;
        self.tid.map_or_else(|| format!("/proc/{pid}/fd"), |tid| format!("/proc/{pid}/task/{tid}/fd"))
    }
}

/// What a descriptor refers to, by inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A socket.
    Socket(u32),
    /// A network namespace.
    NetworkNamespace(u32),
}

/// Calls `each` with every descriptor of `table` that is a socket or a network namespace, and returns how many
/// descriptors there are of any kind.
///
/// Descriptors are numbered from 0 with few gaps, so they are looked up one after the other; from the first
/// longer gap on, the kernel lists what is left. That saves listing tens of thousands of names first.
///
/// # Errors
/// [`Why::NoPermission`] for another user's process, [`Why::SocketGone`] when it has exited. Descriptors
/// that close meanwhile are passed over.
pub fn each(table: Table, mut each: impl FnMut(i32, Held)) -> Result<usize, Why> {
    /// This many numbers without a descriptor in a row are a longer gap.
    const GAP: u32 = 4;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, table.folder(), flags, Mode::empty()).map_err(reason)?;
    let mut count = 0;
    let mut look = |fd: i32, name: &CStr| -> Result<bool, Why> {
        let mut target = [MaybeUninit::uninit(); 40];
        match rustix::fs::readlinkat_raw(&folder, name, &mut target[..]) {
            Ok((link, _)) => {
                count += 1;
                if let Some(held) = held(link) {
                    each(fd, held);
                }
                Ok(true)
            }
            // Names can be listed where links can't be read: by root without CAP_SYS_PTRACE, for one.
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => Err(reason(errno)),
            Err(_) => Ok(false),
        }
    };
    let (mut next, mut missed) = (0, 0);
    while missed < GAP {
        let there = look(next, DecInt::new(next).as_c_str())?;
        missed = if there { 0 } else { missed + 1 };
        next += 1;
    }
    // The offset in this directory is the descriptor's number, after "." and ".." (proc_readfd_common in
    // fs/proc/fd.c).
    rustix::fs::seek(&folder, SeekFrom::Start(next as u64 + 2)).map_err(reason)?;
    let mut entries = [MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(&folder, &mut entries);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => {
                if let Some(fd) = number(entry.file_name().to_bytes()).and_then(|fd| i32::try_from(fd).ok()) {
                    look(fd, entry.file_name())?;
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(reason(errno)),
        }
    }
    Ok(count)
}

/// The tables of a process's threads that are not the leader's: usually none.
///
/// kcmp(2) compares tables without reading them. Where it is missing or forbidden, only some threads are looked
/// at, as if each had its own.
pub fn apart(pid: u32) -> Vec<Table> {
    /// Threads with tables of their own are few; beyond this many a table may be given twice.
    const COMPARED: usize = 8;
    const WITHOUT_KCMP: usize = 64;
    let mut apart: Vec<u32> = Vec::new();
    let mut incomparable = 0;
    for tid in process::other_threads(pid) {
        let known = [pid].into_iter().chain(apart.iter().rev().take(COMPARED).copied());
        let shared: Vec<_> = known.map(|known| share_descriptors(known, tid)).collect();
        if shared.contains(&Some(true)) {
            continue;
        }
        incomparable += usize::from(shared.contains(&None));
        if incomparable <= WITHOUT_KCMP {
            apart.push(tid);
        }
    }
    apart.into_iter().map(|tid| Table { pid, tid: Some(tid) }).collect()
}

/// Whether two threads share their descriptors; `None` where that can't be compared.
fn share_descriptors(one: u32, other: u32) -> Option<bool> {
    const KCMP_FILES: libc::c_int = 2; // linux/kcmp.h
    const UNUSED: libc::c_ulong = 0;
    let (one, other) = (libc::pid_t::try_from(one).ok()?, libc::pid_t::try_from(other).ok()?);
    // SAFETY: kcmp(2) takes five integers, and neither reads nor writes memory of ours.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, UNUSED, UNUSED) };
    (order >= 0).then_some(order == 0)
}

fn reason(errno: Errno) -> Why {
    match errno {
        Errno::ACCESS | Errno::PERM => Why::NoPermission,
        Errno::NOENT | Errno::SRCH => Why::SocketGone,
        _ => Why::Failed,
    }
}

/// `socket:[4242]`, `net:[4026531833]`.
fn held(link: &[u8]) -> Option<Held> {
    let inside = |rest: &[u8]| number(rest.strip_suffix(b"]")?);
    match link.strip_prefix(b"socket:[") {
        Some(rest) => inside(rest).map(Held::Socket),
        None => inside(link.strip_prefix(b"net:[")?).map(Held::NetworkNamespace),
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |sum, &digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::sync::mpsc;

    use super::*;

    fn ours() -> Table {
        Table { pid: std::process::id(), tid: None }
    }

    fn descriptors_of(table: Table, of: Held) -> Vec<i32> {
        let mut found = Vec::new();
        each(table, |fd, held| {
            if held == of {
                found.push(fd);
            }
        })
        .unwrap();
        found
    }

    #[test]
    fn only_sockets_and_network_namespaces_count() {
        assert_eq!(held(b"socket:[4242]"), Some(Held::Socket(4242)));
        assert_eq!(held(b"net:[4026531833]"), Some(Held::NetworkNamespace(4_026_531_833)));
        for other in
            [&b"pipe:[4242]"[..], b"/dev/null", b"socket:[]", b"socket:[99999999999]", b"", b"mnt:[1]"]
        {
            assert_eq!(held(other), None);
        }
    }

    #[test]
    fn our_own_sockets_are_found_before_and_after_gaps() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = u32::try_from(rustix::fs::fstat(&socket).unwrap().st_ino).unwrap();
        let copies = [700, 703, 720, 900].map(|at| rustix::io::fcntl_dupfd_cloexec(&socket, at).unwrap());
        let mut expected: Vec<_> = copies.iter().map(AsRawFd::as_raw_fd).collect();
        expected.insert(0, socket.as_raw_fd());
        assert_eq!(descriptors_of(ours(), Held::Socket(inode)), expected);
        assert_eq!(each(Table { pid: u32::MAX, tid: None }, |_, _| ()), Err(Why::SocketGone));
    }

    #[test]
    fn a_network_namespace_that_we_hold_is_found() {
        let namespace = std::fs::File::open("/proc/self/ns/net").unwrap();
        let inode = u32::try_from(rustix::fs::fstat(&namespace).unwrap().st_ino).unwrap();
        let found = descriptors_of(ours(), Held::NetworkNamespace(inode));
        assert!(found.contains(&namespace.as_raw_fd()), "{found:?}");
    }

    #[test]
    fn a_thread_with_descriptors_of_its_own_is_told_from_one_without() {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let (end_sharing, sharing_ended) = mpsc::channel::<()>();
        let sharing = std::thread::spawn(move || sharing_ended.recv());
        let thread = std::thread::spawn(move || {
            // SAFETY: from here on this thread uses only descriptors that it makes itself.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }.unwrap();
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let inode = u32::try_from(rustix::fs::fstat(&socket).unwrap().st_ino).unwrap();
            tell.send((rustix::thread::gettid().as_raw_nonzero().get(), inode, socket.as_raw_fd())).unwrap();
            let _ = ended.recv();
        });
        let (tid, inode, fd) = told.recv().unwrap();
        let table = Table { pid: std::process::id(), tid: u32::try_from(tid).ok() };
        assert_eq!(apart(std::process::id()), [table]);
        assert_eq!(descriptors_of(table, Held::Socket(inode)), [fd]);
        assert!(descriptors_of(ours(), Held::Socket(inode)).is_empty());
        drop((end, end_sharing));
        thread.join().unwrap();
        sharing.join().unwrap().unwrap_err();
    }
}
