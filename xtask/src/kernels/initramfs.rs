//! A file system in memory, in the format that the kernel unpacks (cpio "newc",
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive that is being written.
#[derive(Debug)]
pub(super) struct Initramfs<W: Write> {
    out: W,
    inode: u32,
    folders: BTreeSet<String>,
}

impl Initramfs<BufWriter<File>> {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self::new(BufWriter::new(file)))
    }
}

impl<W: Write> Initramfs<W> {
    fn new(out: W) -> Self {
        Self { out, inode: 0, folders: BTreeSet::new() }
    }

    /// A folder and those above it, each once. Paths are absolute.
    pub(super) fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || self.folders.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        self.folders.insert(path.to_owned());
        self.entry(path, FOLDER | mode, &[])
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        self.parents(path)?;
        self.entry(path, FILE | mode, bytes)
    }

    /// A copy of a file of this machine, which everybody may run.
    pub(super) fn copy(&mut self, from: &Path, to: &str) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        Ok(self.file(to, 0o755, &bytes)?)
    }

    pub(super) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        self.parents(path)?;
        self.entry(path, LINK | 0o777, target.as_bytes())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.folder(parent, 0o755),
            None => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, format!("{path} is too large"));
        let length = u32::try_from(bytes.len()).map_err(too_large)?;
        let name_length = u32::try_from(path.len() + 1).map_err(too_large)?;
        let links = if mode & FOLDER == FOLDER { 2 } else { 1 };
        // Inode, mode, owner, group, links, time, size, device (2), device of a node (2), name's size, checksum.
        let fields = [self.inode, mode, 0, 0, links, 0, length, 0, 0, 0, 0, name_length, 0];
        write!(self.out, "070701")?;
        for field in fields {
            write!(self.out, "{field:08X}")?;
        }
        write!(self.out, "{path}\0")?;
        self.pad(110 + path.len() + 1)?;
        self.out.write_all(bytes)?;
        self.pad(bytes.len())
    }

    fn pad(&mut self, length: usize) -> io::Result<()> {
        let zeros = [0; 3];
        self.out.write_all(zeros.get(..length.wrapping_neg() % 4).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_reads_what_we_write() {
        let Ok(mut cpio) = Command::new("busybox")
            .args(["cpio", "-t", "-v"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            eprintln!("skipped: busybox is not installed");
            return;
        };
        let mut archive = Initramfs::new(cpio.stdin.take().unwrap());
        archive.folder("/tmp", 0o1777).unwrap();
        archive.file("/a/b/five", 0o644, b"12345").unwrap();
        archive.file("/a/b/none", 0o755, b"").unwrap();
        archive.link("/sbin", "bin").unwrap();
        drop(archive.finish().unwrap());
        let output = cpio.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let found: Vec<_> = rows.iter().map(|row| (row[0], row[2], row[5..].join(" "))).collect();
        assert_eq!(
            found,
            [
                ("drwxrwxrwt", "0", "tmp".into()),
                ("drwxr-xr-x", "0", "a".into()),
                ("drwxr-xr-x", "0", "a/b".into()),
                ("-rw-r--r--", "5", "a/b/five".into()),
                ("-rwxr-xr-x", "0", "a/b/none".into()),
                ("lrwxrwxrwx", "0", "sbin -> bin".into()),
            ],
            "{text}"
        );
    }
}
