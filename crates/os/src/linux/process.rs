//! Processes and the sockets that they hold: proc(5).

use std::ffi::CStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;

use deadpeer_core::Why;
use rustix::fs::{CWD, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;
use rustix::path::DecInt;

/// The processes that this one can see, in no order.
///
/// # Errors
/// When /proc is not mounted.
pub fn all() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// Calls `each` with (descriptor, inode) of every socket that process `pid` holds.
///
/// Descriptors are numbered from 0 with few gaps, so they are looked up one after the other; from the first
/// longer gap on, the kernel lists what is left. That saves listing tens of thousands of names first.
///
/// # Errors
/// [`Why::NoPermission`] for another user's process, [`Why::SocketGone`] when it has exited. Descriptors
/// that close meanwhile are passed over.
pub fn sockets(pid: u32, mut each: impl FnMut(i32, u32)) -> Result<(), Why> {
    /// So many numbers without a descriptor in a row are a longer gap.
    const GAP: u32 = 4;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty()).map_err(reason)?;
    let mut look = |fd: i32, name: &CStr| -> Result<bool, Why> {
        let mut target = [MaybeUninit::uninit(); 40];
        match rustix::fs::readlinkat_raw(&folder, name, &mut target[..]) {
            Ok((link, _)) => {
                if let Some(inode) = socket_inode(link) {
                    each(fd, inode);
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
    Ok(())
}

fn reason(errno: Errno) -> Why {
    match errno {
        Errno::ACCESS | Errno::PERM => Why::NoPermission,
        Errno::NOENT | Errno::SRCH => Why::SocketGone,
        _ => Why::Failed,
    }
}

/// `socket:[4242]` → 4242.
fn socket_inode(link: &[u8]) -> Option<u32> {
    number(link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?)
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

/// The process's name (`comm`): at most 15 bytes, chosen by the process, so of control characters only
/// their escapes are kept.
pub fn name(pid: u32) -> Option<String> {
    let raw = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(printable(&String::from_utf8_lossy(raw.strip_suffix(b"\n").unwrap_or(&raw))))
}

/// What others chose must not steer a terminal.
fn printable(text: &str) -> String {
    if text.contains(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

/// The systemd unit that the process runs in, or else its cgroup's path; `None` in the root cgroup.
pub fn unit(pid: u32) -> Option<String> {
    unit_of(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// Reads the format of /proc/PID/cgroup (cgroups(7)): the unified hierarchy's line, or systemd's own of
/// the old ones. The unit is the innermost component that names a service or scope.
fn unit_of(table: &str) -> Option<String> {
    let path = table.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        ((id == "0" && controllers.is_empty()) || controllers == "name=systemd").then_some(path)
    })?;
    let unit = path.rsplit('/').find(|part| [".service", ".scope"].iter().any(|end| part.ends_with(end)));
    match unit {
        Some(unit) => Some(printable(unit)),
        None if path == "/" => None,
        None => Some(printable(path)),
    }
}

/// The inode number of the network namespace that the process is in.
pub fn network_namespace(pid: u32) -> Option<u64> {
    rustix::fs::stat(format!("/proc/{pid}/ns/net")).ok().map(|stat| stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(unit_of("0::/system.slice/nginx.service\n").as_deref(), Some("nginx.service"));
        let container = "0::/system.slice/docker-abc.scope/init\n";
        assert_eq!(unit_of(container).as_deref(), Some("docker-abc.scope"));
        assert_eq!(unit_of("0::/kubepods/pod1/abc\n").as_deref(), Some("/kubepods/pod1/abc"));
        assert_eq!(unit_of("12:cpu:/x\n1:name=systemd:/user.slice/a.scope\n").as_deref(), Some("a.scope"));
        assert_eq!(unit_of("0::/\n"), None);
        assert_eq!(unit_of("garbage"), None);
    }

    #[test]
    fn names_that_others_chose_cannot_steer_a_terminal() {
        assert_eq!(unit_of("0::/a\u{1b}[31m.service\n").as_deref(), Some("a\\u{1b}[31m.service"));
        assert_eq!(printable("nginx: größe"), "nginx: größe");
    }

    #[test]
    fn only_sockets_count() {
        assert_eq!(socket_inode(b"socket:[4242]"), Some(4242));
        for other in [&b"pipe:[4242]"[..], b"/dev/null", b"socket:[]", b"socket:[99999999999]", b""] {
            assert_eq!(socket_inode(other), None);
        }
    }

    #[test]
    fn our_own_sockets_are_found_before_and_after_gaps() {
        use std::os::fd::AsRawFd;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = u32::try_from(rustix::fs::fstat(&socket).unwrap().st_ino).unwrap();
        let copies = [700, 703, 720, 900].map(|at| rustix::io::fcntl_dupfd_cloexec(&socket, at).unwrap());
        let mut expected: Vec<_> = copies.iter().map(AsRawFd::as_raw_fd).collect();
        expected.insert(0, socket.as_raw_fd());
        let mut found = Vec::new();
        sockets(std::process::id(), |fd, of| {
            if of == inode {
                found.push(fd);
            }
        })
        .unwrap();
        assert_eq!(found, expected);
        assert_eq!(sockets(u32::MAX, |_, _| ()), Err(Why::SocketGone));
    }
}
