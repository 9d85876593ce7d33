//! The network namespaces of this host.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use deadpeer_core::Platform;
use deadpeer_os::linux::namespace::NetworkNamespace;
use deadpeer_os::linux::{process, sysctl};

/// A network namespace that can be looked into.
#[derive(Debug)]
pub struct Namespace {
    inode: u64,
    name: Option<String>,
    /// `None` is the one that we are in; entering it takes nothing.
    foreign: Option<NetworkNamespace>,
    platform: Platform,
}

impl Namespace {
    /// The one of this thread.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn current() -> io::Result<Arc<Self>> {
        let inode = fs::metadata("/proc/thread-self/ns/net")?.ino();
        Ok(Arc::new(Self { inode, name: name_of(inode), foreign: None, platform: sysctl::platform() }))
    }

    /// Every one that a visible process is in, ours first; and how many of them could not be entered.
    /// Entering one takes CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn all() -> io::Result<(Vec<Arc<Self>>, usize)> {
        let current = Self::current()?;
        let mut members = BTreeMap::new();
        for pid in process::all()? {
            if let Some(inode) = process::network_namespace(pid) {
                members.entry(inode).or_insert(pid);
            }
        }
        members.remove(&current.inode);
        let mut all = vec![current];
        let mut refused = 0;
        for (inode, pid) in members {
            match Self::of(inode, pid) {
                Ok(namespace) => all.push(Arc::new(namespace)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // the process has exited
                Err(_) => refused += 1,
            }
        }
        Ok((all, refused))
    }

    fn of(inode: u64, pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let handle = NetworkNamespace::of_process(pid.ok_or(io::ErrorKind::NotFound)?)?;
        let platform = handle.run(|| Ok(sysctl::platform()))?;
        Ok(Self { inode, name: name_of(inode), foreign: Some(handle), platform })
    }

    /// Its inode number, as lsns(8) shows it.
    pub const fn inode(&self) -> u64 {
        self.inode
    }

    /// Its name, where ip-netns(8) gave it one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The system defaults in it.
    pub const fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Runs `job` inside. Sockets that it opens stay there.
    pub(crate) fn run<R: Send>(&self, job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        match &self.foreign {
            None => job(),
            Some(handle) => handle.run(job),
        }
    }
}

fn name_of(inode: u64) -> Option<String> {
    let entries = fs::read_dir(Path::new("/run/netns")).ok()?;
    entries
        .flatten()
        .find(|entry| fs::metadata(entry.path()).is_ok_and(|metadata| metadata.ino() == inode))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
}
