//! Processes, as proc(5) tells of them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// The processes that this one can see, in no order.
///
/// # Errors
/// When /proc is not mounted.
pub fn all() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
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

/// The threads of a process beside its leader. It costs one call where there are none.
pub fn other_threads(pid: u32) -> Vec<u32> {
    let folder = format!("/proc/{pid}/task");
    // Two links and one for each thread (`proc_task_getattr` in fs/proc/base.c).
    if fs::metadata(&folder).is_ok_and(|metadata| metadata.nlink() <= 3) {
        return Vec::new();
    }
    let entries = fs::read_dir(folder).into_iter().flatten();
    let tids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    tids.filter(|&tid| tid != pid).collect()
}

/// The user that the process acts for (its effective user ID).
pub fn user(pid: u32) -> Option<u32> {
    status(&format!("/proc/{pid}/status"), "Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether the calling thread has capability number `bit` in effect (capabilities(7)).
pub fn is_capable(bit: u32) -> bool {
    let effective = status("/proc/thread-self/status", "CapEff:");
    effective.and_then(|bits| u64::from_str_radix(&bits, 16).ok()).is_some_and(|bits| bits >> bit & 1 == 1)
}

/// CAP_SYS_PTRACE, for [`is_capable`].
pub const CAP_SYS_PTRACE: u32 = 19;

fn status(path: &str, field: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(value.trim().to_owned())
}

/// Whether /proc leaves out the processes of others, and this process is not exempt: `hidepid` and `gid` in
/// proc(5).
pub fn others_are_hidden() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(hiding) = hiding(&mounts) else { return false };
    // In a user namespace of its own the capability does not reach beyond it.
    let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let everywhere = users.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    let in_group = |gid| {
        rustix::process::getegid().as_raw() == gid
            || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|of| of.as_raw() == gid))
    };
    let exempt = (everywhere && is_capable(CAP_SYS_PTRACE)) || hiding.exempt_group.is_some_and(in_group);
    !exempt
}

/// A /proc that hides processes, and the group that sees them all the same.
#[derive(Debug, PartialEq, Eq)]
struct Hiding {
    exempt_group: Option<u32>,
}

/// Reads the options of /proc from the format of /proc/PID/mountinfo. Of several mounts the last is on top.
fn hiding(mounts: &str) -> Option<Hiding> {
    let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"))?;
    let options = line.split_once(" - ")?.1.split(' ').nth(2)?;
    let option = |name: &str| {
        options.split(',').find_map(|option| option.split_once('=').filter(|(key, _)| *key == name))
    };
    let gid = || option("gid").and_then(|(_, gid)| gid.parse().ok());
    match option("hidepid")?.1 {
        "2" | "invisible" => Some(Hiding { exempt_group: Some(gid().unwrap_or(0)) }),
        "4" | "ptraceable" => Some(Hiding { exempt_group: None }),
        _ => None, // all are listed
    }
}

/// Whether this process sees the host's first PID namespace, so that no process is beyond its view
/// (pid_namespaces(7)).
pub fn sees_all_pid_namespaces() -> bool {
    const FIRST: u64 = 0xefff_fffc; // PID_NS_INIT_INO in include/uapi/linux/nsfs.h
    fs::metadata("/proc/self/ns/pid").is_ok_and(|metadata| metadata.ino() == FIRST)
}

/// The inode number of the network namespace that the thread or process is in.
///
/// # Errors
/// Of stat(2) on its /proc/PID/ns/net: EACCES where we may not look into it, ENOENT when it has exited.
pub fn network_namespace(pid: u32) -> io::Result<u64> {
    Ok(rustix::fs::stat(format!("/proc/{pid}/ns/net"))?.st_ino)
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
    fn a_proc_that_hides_others_says_so_in_its_options() {
        let mounts = |options: &str| {
            format!(
                "22 1 0:20 / /sys rw - sysfs sysfs rw\n23 1 0:21 / /proc rw - proc proc rw\n\
                 24 1 0:22 / /proc rw,relatime shared:5 - proc proc rw{options}\n"
            )
        };
        let of = |options| hiding(&mounts(options));
        assert_eq!(of(""), None);
        assert_eq!(of(",hidepid=1"), None);
        assert_eq!(of(",hidepid=noaccess"), None);
        assert_eq!(of(",hidepid=2"), Some(Hiding { exempt_group: Some(0) }));
        assert_eq!(of(",gid=27,hidepid=invisible"), Some(Hiding { exempt_group: Some(27) }));
        assert_eq!(of(",gid=27,hidepid=ptraceable"), Some(Hiding { exempt_group: None }));
        assert_eq!(hiding("garbage"), None);
    }

    #[test]
    fn threads_beside_the_leader_are_listed() {
        let thread = std::thread::spawn(move || {
            let tid = rustix::thread::gettid().as_raw_nonzero().get();
            assert!(other_threads(std::process::id()).contains(&u32::try_from(tid).unwrap()));
        });
        thread.join().unwrap();
        assert_eq!(other_threads(u32::MAX), []);
    }
}
