//! All network namespaces of this host that can be found.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deadpeer_os::linux::{namespace, process};

use super::namespace::{NAMES, Namespace};

/// Something that was in the way of finding network namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unseen {
    /// This many processes can't be looked into.
    Processes(usize),
    /// /proc hides other users' processes (hidepid).
    HiddenProcesses,
    /// This many namespaces are known and can't be entered.
    Refused(usize),
    /// A name that ip-netns(8) keeps leads to no network namespace, as seen from our mount namespace.
    Name(PathBuf),
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processes(1) => f.write_str(
                "1 process could not be looked into: a network namespace that only it holds is missing \
                 (CAP_SYS_PTRACE)",
            ),
            Self::Processes(count) => write!(
                f,
                "{count} processes could not be looked into: network namespaces that only they hold are \
                 missing (CAP_SYS_PTRACE)"
            ),
            Self::HiddenProcesses => f.write_str(
                "/proc hides other users' processes (hidepid): network namespaces that only they hold are \
                 missing (CAP_SYS_PTRACE)",
            ),
            Self::Refused(1) => f.write_str("1 network namespace could not be entered (CAP_SYS_ADMIN)"),
            Self::Refused(count) => {
                write!(f, "{count} network namespaces could not be entered (CAP_SYS_ADMIN)")
            }
            Self::Name(path) => write!(
                f,
                "{} leads to no network namespace here: if it is mounted in another mount namespace, run \
                 deadpeer there",
                path.display()
            ),
        }
    }
}

/// The network namespaces that were found, ours first.
#[derive(Debug)]
pub(super) struct Namespaces {
    found: Vec<Arc<Namespace>>,
    refused: usize,
    closed: usize,
    names: Vec<PathBuf>,
}

impl Namespaces {
    /// The one that we are in.
    pub(super) fn current() -> io::Result<Self> {
        Ok(Self { found: vec![Namespace::current()?], refused: 0, closed: 0, names: Vec::new() })
    }

    /// Those that a thread of a visible process is in, and those that are mounted.
    pub(super) fn all() -> io::Result<Self> {
        let mut all = Self::current()?;
        let mounted = namespace::mounted()?;
        let mut paths: BTreeMap<u64, PathBuf> = BTreeMap::new();
        for pid in process::all()? {
            let others = process::other_threads(pid);
            for task in [pid].into_iter().chain(others) {
                match process::network_namespace(task) {
                    Ok(inode) => {
                        paths.entry(inode).or_insert_with(|| format!("/proc/{task}/ns/net").into());
                    }
                    // It has exited, or its leader has.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(_) if task == pid => all.closed += 1,
                    Err(_) => {}
                }
            }
        }
        for mount in &mounted {
            paths.entry(mount.inode).or_insert_with(|| mount.path.clone());
        }
        all.names = names().filter(|name| !mounted.iter().any(|mount| mount.path == *name)).collect();
        all.add(&paths);
        Ok(all)
    }

    /// Adds those that are new, by their files. Returns where the new ones begin.
    pub(super) fn add(&mut self, paths: &BTreeMap<u64, PathBuf>) -> usize {
        let before = self.found.len();
        for (&inode, path) in paths {
            if self.found.iter().any(|known| known.inode() == inode) {
                continue;
            }
            match Namespace::at(inode, path) {
                Ok(namespace) => self.found.push(Arc::new(namespace)),
                // Whoever held it has exited, or its file leads elsewhere by now.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {}
                Err(_) => self.refused += 1,
            }
        }
        before
    }

    /// All that were found.
    pub(super) fn found(&self) -> &[Arc<Namespace>] {
        &self.found
    }

    /// One turned out not to be enterable after all.
    pub(super) const fn refuse(&mut self) {
        self.refused += 1;
    }

    /// What was in the way; `unreadable` processes have descriptors that can't be seen.
    pub(super) fn unseen(self, unreadable: usize) -> Vec<Unseen> {
        let closed = self.closed.max(unreadable);
        let mut unseen = Vec::new();
        unseen.extend((self.refused > 0).then_some(Unseen::Refused(self.refused)));
        unseen.extend((closed > 0).then_some(Unseen::Processes(closed)));
        unseen.extend(process::others_are_hidden().then_some(Unseen::HiddenProcesses));
        unseen.extend(self.names.into_iter().map(Unseen::Name));
        unseen
    }
}

/// The files that ip-netns(8) keeps.
fn names() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(Path::new(NAMES)).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path())
}
