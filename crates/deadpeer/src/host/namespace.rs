//! A network namespace of this host.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use deadpeer_core::Platform;
use deadpeer_os::linux::namespace::NetworkNamespace;
use deadpeer_os::linux::sysctl;

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

    /// The one that the file at `path` leads to, if it still is the one of that inode number. Entering it takes
    /// CAP_SYS_ADMIN.
    pub(super) fn at(inode: u64, path: &Path) -> io::Result<Self> {
        let handle = NetworkNamespace::at(path)?;
        if handle.inode()? != inode {
            return Err(io::ErrorKind::NotFound.into());
        }
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

/// Where ip-netns(8) keeps them.
pub(super) const NAMES: &str = "/run/netns";

fn name_of(inode: u64) -> Option<String> {
    let entries = fs::read_dir(NAMES).ok()?;
    entries
        .flatten()
        .find(|entry| fs::metadata(entry.path()).is_ok_and(|metadata| metadata.ino() == inode))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
}
