//! Debian's kernel packages, by an apt configuration of our own: nothing of this machine's apt is changed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Error, Result, bail};

use super::cache::{Cache, Kernel};
use super::command::{Interrupt, output};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where kernels of several versions are: archive and suite.
const SUITES: [(&str, &str); 8] = [
    ("debian", "bullseye"),
    ("debian-security", "bullseye-security"),
    ("debian", "bookworm"),
    ("debian-security", "bookworm-security"),
    ("debian", "bookworm-backports"),
    ("debian", "trixie"),
    ("debian-security", "trixie-security"),
    ("debian", "trixie-backports"),
];
/// How long the package lists are taken as they are.
const LISTS_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A kernel series, "6.1".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series(pub(super) u32, pub(super) u32);

impl FromStr for Series {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self(major.parse().ok()?, minor.parse().ok()?))
        };
        parse().with_context(|| format!("{text:?} is no kernel series; give it as \"6.1\""))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.0, self.1))
    }
}

/// A kernel package that the archive offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) series: Series,
    pub(super) name: String,
}

impl Package {
    /// `None` for what is no kernel of one version: meta packages, unsigned ones, debug symbols.
    fn parse(name: &str) -> Option<Self> {
        let version = name.strip_prefix("linux-image-")?.strip_suffix("-cloud-amd64")?;
        let mut parts = version.split('.');
        let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next()?;
        Some(Self { series: Series(major, minor), name: name.to_owned() })
    }

    /// Every number of the name, so that 6.12.117 comes after 6.12.95 and deb13 after deb12.
    fn rank(&self) -> Vec<u64> {
        self.name
            .trim_end_matches("-cloud-amd64")
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect()
    }
}

/// The newest package of a series.
pub(super) fn newest(offered: &[Package], series: Series) -> Option<&Package> {
    offered.iter().filter(|package| package.series == series).max_by_key(|package| package.rank())
}

/// The archive, as apt sees it.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    cache: &'a Cache,
    interrupt: &'a Interrupt,
    folder: PathBuf,
}

impl<'a> Archive<'a> {
    pub(super) fn new(cache: &'a Cache, interrupt: &'a Interrupt) -> Self {
        Self { cache, interrupt, folder: cache.path().join("apt") }
    }

    /// Writes the configuration, every time: a half-written one does not stay.
    fn configure(&self) -> Result<()> {
        if !Path::new(KEYRING).exists() {
            bail!("there is no {KEYRING}: apt-get install debian-archive-keyring");
        }
        for folder in ["state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"]
        {
            fs::create_dir_all(self.folder.join(folder))
                .with_context(|| format!("make {}/{folder}", self.folder.display()))?;
        }
        let sources: String = SUITES
            .iter()
            .map(|(archive, suite)| {
                format!("deb [arch=amd64 signed-by={KEYRING}] http://deb.debian.org/{archive} {suite} main\n")
            })
            .collect();
        let here = self.folder.display();
        let config = format!(
            "Dir::State \"{here}/state\";\nDir::State::status \"{here}/status\";\n\
             Dir::Cache \"{here}/cache\";\nDir::Etc \"{here}/etc\";\n\
             Dir::Etc::sourcelist \"{here}/etc/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\nAcquire::GzipIndexes \"true\";\nAcquire::Retries \"2\";\n\
             Acquire::http::Timeout \"20\";\n"
        );
        for (name, text) in [("etc/sources.list", sources), ("apt.conf", config), ("status", String::new())] {
            fs::write(self.folder.join(name), text).with_context(|| format!("write {here}/{name}"))?;
        }
        Ok(())
    }

    fn apt(&self, program: &str, args: &[&str]) -> Result<String> {
        output(
            Command::new(program)
                .args(args)
                .env("APT_CONFIG", self.folder.join("apt.conf"))
                .env("LC_ALL", "C"),
            self.interrupt,
        )
    }

    /// What the archive offers. The lists are fetched when they are older than a day, or if that is `wanted`;
    /// without a network the old ones are taken.
    pub(super) fn kernels(&self, update: bool) -> Result<Vec<Package>> {
        self.configure()?;
        let stamp = self.folder.join("updated");
        let age = fs::metadata(&stamp)
            .and_then(|stamp| stamp.modified())
            .map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        if update || age.is_ok_and(|age| age > LISTS_AGE) || !stamp.exists() {
            eprintln!("fetching Debian's package lists …");
            // Without Error-Mode apt-get takes a list that it can't fetch for a success.
            match self.apt("apt-get", &["-qq", "-o", "APT::Update::Error-Mode=any", "update"]) {
                Ok(_) => fs::write(&stamp, "").with_context(|| format!("write {}", stamp.display()))?,
                Err(why) => {
                    eprintln!("some package lists can't be fetched, those of before are used: {why:#}")
                }
            }
        }
        let names = self.apt("apt-cache", &["search", "--names-only", "^linux-image-.*-cloud-amd64$"])?;
        let offered: Vec<_> =
            names.lines().filter_map(|line| Package::parse(line.split_whitespace().next()?)).collect();
        if offered.is_empty() {
            bail!("the package lists of deb.debian.org can't be fetched, or hold no kernel");
        }
        Ok(offered)
    }

    /// Fetches and unpacks a kernel into the cache.
    pub(super) fn fetch(&self, package: &Package) -> Result<Kernel> {
        eprintln!("fetching {} …", package.name);
        let scratch = self.cache.scratch()?;
        // Newer packages only depend on those that hold the kernel and its modules.
        let shown = self.apt("apt-cache", &["show", "--no-all-versions", &package.name])?;
        let mut names = BTreeSet::from([package.name.as_str()]);
        names.extend(parts(&shown));
        // apt-get compares the checksums of the signed lists.
        let mut download = Command::new("apt-get");
        download.args(["-qq", "download"]).args(&names).current_dir(scratch.path());
        download.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C");
        output(&mut download, self.interrupt)?;
        self.cache.unpack(package.series, scratch, self.interrupt)
    }
}

/// The packages that hold what this one, as `apt-cache show` prints it, stands for.
fn parts(shown: &str) -> impl Iterator<Item = &str> {
    shown
        .lines()
        .filter_map(|line| line.strip_prefix("Depends: "))
        .flat_map(|depends| depends.split(", "))
        .filter_map(|depends| depends.split_whitespace().next())
        .filter(|name| name.starts_with("linux-binary-") || name.starts_with("linux-modules-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_series_is_found_by_the_numbers_of_its_name() {
        let offered: Vec<_> = [
            "linux-image-6.12.95+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.117+deb13-cloud-amd64",
            "linux-image-6.12.43+deb13-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
        ]
        .into_iter()
        .map(|name| Package::parse(name).unwrap())
        .collect();
        let name = |series: &str| &newest(&offered, series.parse().unwrap()).unwrap().name;
        assert_eq!(name("6.12"), "linux-image-6.12.117+deb13-cloud-amd64");
        assert_eq!(name("6.1"), "linux-image-6.1.0-56-cloud-amd64");
        assert_eq!(newest(&offered, Series(6, 17)), None);
    }

    #[test]
    fn meta_packages_unsigned_ones_and_debug_symbols_are_no_kernels() {
        for name in [
            "linux-image-cloud-amd64",
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
            "linux-image-6.1.0-56-amd64",
        ] {
            assert_eq!(Package::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_package_that_stands_for_others_names_them() {
        let shown = "Package: linux-image-7.3.4+deb13-cloud-amd64\n\
            Depends: dracut | initramfs-tools (>= 0.120+deb8u2), linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), \
            linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1), linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1)\n";
        assert_eq!(
            parts(shown).collect::<Vec<_>>(),
            ["linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"]
        );
    }

    #[test]
    fn a_series_is_two_numbers() {
        assert_eq!("6.12".parse::<Series>().unwrap(), Series(6, 12));
        for wrong in ["6", "6.x", "", "6.1.2"] {
            assert!(wrong.parse::<Series>().is_err(), "{wrong:?}");
        }
    }
}
