//! The cache folder: unpacked kernels, apt's lists, and the temporary files of a run.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::archive::Series;
use super::command::{Interrupt, output};

/// A kernel that was unpacked.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// Its folder: `vmlinuz`, `lib/modules/RELEASE`, `version`, `release`.
    folder: PathBuf,
    /// What uname says.
    pub(super) release: String,
    /// The package's version.
    version: String,
}

impl Kernel {
    /// `None` if the folder holds no whole kernel.
    fn open(folder: PathBuf) -> Option<Self> {
        let read = |name| fs::read_to_string(folder.join(name)).ok().map(|text| text.trim().to_owned());
        let (release, version) = (read("release")?, read("version")?);
        Some(Self { folder, release, version })
    }

    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The folder that holds lib/modules.
    pub(super) fn root(&self) -> &Path {
        &self.folder
    }

    /// "6.1.192 (6.1.0-56-cloud-amd64)"
    pub(super) fn title(&self) -> String {
        let upstream = self.version.split('-').next().unwrap_or(&self.version);
        format!("{upstream} ({})", self.release)
    }
}

/// The folder `deadpeer-kernels` in the user's cache. Held by one run at a time.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    _lock: File,
}

impl Cache {
    /// Opens it, and waits until no other run has it open.
    pub(super) fn open(interrupt: &Interrupt) -> Result<Self> {
        let base = env::var_os("XDG_CACHE_HOME")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        let base = base.context("neither XDG_CACHE_HOME nor HOME says where the kernels may be kept")?;
        Self::at(base.join("deadpeer-kernels"), interrupt)
    }

    fn at(path: PathBuf, interrupt: &Interrupt) -> Result<Self> {
        fs::create_dir_all(path.join("kernels")).with_context(|| format!("make {}", path.display()))?;
        let lock = path.join("lock");
        let lock = File::create(&lock).with_context(|| format!("open {}", lock.display()))?;
        let mut has_waited = false;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if interrupt.came() => bail!("interrupted"),
                Err(Errno::WOULDBLOCK) => {
                    if !has_waited {
                        eprintln!("another run has {} open: waiting for its end …", path.display());
                    }
                    has_waited = true;
                    thread::sleep(Duration::from_millis(200));
                }
                Err(error) => return Err(error).with_context(|| format!("lock {}", path.display())),
            }
        }
        // What a run that was killed has left; nobody else is here.
        let scratch = path.join("scratch");
        if scratch.exists() {
            fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
        }
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder for temporary files, which goes with the value.
    pub(super) fn scratch(&self) -> Result<Scratch> {
        let scratch = self.path.join("scratch");
        fs::create_dir_all(&scratch)?;
        let free = (0..100).map(|n| scratch.join(n.to_string())).find(|path| fs::create_dir(path).is_ok());
        let path = free.with_context(|| format!("make a folder in {}", scratch.display()))?;
        Ok(Scratch { path })
    }

    /// The series that are unpacked.
    pub(super) fn series(&self) -> Result<Vec<Series>> {
        let folders = fs::read_dir(self.path.join("kernels"))?;
        Ok(folders.filter_map(|folder| folder.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    pub(super) fn kernel(&self, series: Series) -> Option<Kernel> {
        Kernel::open(self.folder(series))
    }

    fn folder(&self, series: Series) -> PathBuf {
        self.path.join("kernels").join(series.to_string())
    }

    /// Unpacks the packages in `packages`. The kernel is in the cache wholly or not at all.
    pub(super) fn unpack(&self, series: Series, packages: Scratch, interrupt: &Interrupt) -> Result<Kernel> {
        let unpacked = packages.path().join("unpacked");
        let (release, version) = unpack(packages.path(), &unpacked, interrupt)?;
        let whole = packages.path().join("whole");
        let modules = Path::new("lib/modules").join(&release);
        fs::create_dir_all(whole.join("lib/modules"))?;
        take(&unpacked, &["lib/modules", "usr/lib/modules"], &release, &whole.join(&modules))?;
        let vmlinuz = format!("vmlinuz-{release}");
        let inside = format!("{}/vmlinuz", whole.join(&modules).display());
        take(&unpacked, &["boot"], &vmlinuz, &whole.join("vmlinuz"))
            .or_else(|why| fs::rename(inside, whole.join("vmlinuz")).map_err(|_| why))?;
        let mut depmod = Command::new(tool("depmod"));
        output(depmod.arg("--basedir").arg(&whole).arg(&release), interrupt).context("kmod")?;
        fs::write(whole.join("version"), version)?;
        fs::write(whole.join("release"), release)?;
        let folder = self.folder(series);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        fs::rename(&whole, &folder).with_context(|| format!("move the kernel to {}", folder.display()))?;
        Kernel::open(folder).context("the kernel that was just unpacked can't be read")
    }
}

/// Unpacks all packages of a folder; gives the kernel's release and the version of its packages.
fn unpack(packages: &Path, to: &Path, interrupt: &Interrupt) -> Result<(String, String)> {
    let mut version = None;
    for package in fs::read_dir(packages)? {
        let package = package?.path();
        if package.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        let mut dpkg = Command::new("dpkg-deb");
        version = Some(output(dpkg.arg("--field").arg(&package).arg("Version"), interrupt)?);
        let mut dpkg = Command::new("dpkg-deb");
        output(dpkg.arg("--extract").arg(&package).arg(to), interrupt)?;
    }
    let version = version.context("apt-get has downloaded nothing")?.trim().to_owned();
    for modules in ["lib/modules", "usr/lib/modules"] {
        if let Some(release) = fs::read_dir(to.join(modules)).ok().and_then(|mut folders| folders.next()) {
            let release = release?.file_name().into_string().ok().context("a release that is no text")?;
            return Ok((release, version));
        }
    }
    bail!("the packages hold no kernel modules")
}

fn take(from: &Path, folders: &[&str], name: &str, to: &Path) -> Result<()> {
    let found = folders.iter().map(|folder| from.join(folder).join(name)).find(|path| path.exists());
    let found = found.with_context(|| format!("the packages hold no {name}"))?;
    fs::rename(&found, to).with_context(|| format!("move {} to {}", found.display(), to.display()))
}

/// The path of a program that may stand in /sbin, which is not on everybody's PATH.
pub(super) fn tool(name: &str) -> PathBuf {
    let sbin = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(name));
    sbin.into_iter().find(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// A folder for temporary files.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{} can't be removed: {error}", self.path.display());
        }
        // Only the last one succeeds.
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        env::temp_dir().join(format!("deadpeer-kernels-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_package_that_is_broken_leaves_no_kernel_and_no_files() {
        let (path, interrupt) = (folder("broken"), Interrupt::never());
        let cache = Cache::at(path.clone(), &interrupt).unwrap();
        let packages = cache.scratch().unwrap();
        fs::write(packages.path().join("linux-image.deb"), "!<arch>\nhalf of it").unwrap();
        cache.unpack(Series(6, 1), packages, &interrupt).unwrap_err();
        assert!(cache.kernel(Series(6, 1)).is_none());
        assert!(!path.join("scratch").exists());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_half_a_kernel_is_none() {
        let (path, interrupt) = (folder("killed"), Interrupt::never());
        fs::create_dir_all(path.join("scratch/0")).unwrap();
        fs::create_dir_all(path.join("kernels/6.1/lib")).unwrap();
        let cache = Cache::at(path.clone(), &interrupt).unwrap();
        assert!(!path.join("scratch").exists());
        assert!(cache.kernel(Series(6, 1)).is_none());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_second_run_waits_for_the_first_and_can_be_interrupted() {
        let path = folder("second");
        let first = Cache::at(path.clone(), &Interrupt::never()).unwrap();
        assert!(Cache::at(path.clone(), &Interrupt::at_once()).is_err());
        drop(first);
        Cache::at(path.clone(), &Interrupt::never()).unwrap();
        fs::remove_dir_all(path).unwrap();
    }
}
