//! `cargo xtask kernels`: the lab, the demo and the tests that depend on the kernel, on other kernels.
//!
//! [Debian's kernels](archive) are [fetched and unpacked](cache), the [`programs`] are built static, and QEMU
//! [boots](machine) each kernel with a [file system in memory](guest) that holds nothing else. What the
//! [`checks`] print comes back over a serial port and ends as a [table](report).

mod archive;
mod cache;
mod checks;
mod command;
mod guest;
mod initramfs;
mod machine;
mod outcome;
mod programs;
mod report;

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;

use archive::{Archive, Package, Series};
use cache::{Cache, Kernel};
use checks::{CHECKS, Check};
use command::Interrupt;
use guest::Guest;
use machine::Machine;
use programs::Programs;
use report::{Report, Row};

/// The series that run unless others are asked for; the newest that the archive has comes on top. Each is the
/// kernel of a Debian release, or the first one of a difference that docs/kernels.md names.
const USUAL: [Series; 4] = [Series(5, 10), Series(6, 1), Series(6, 12), Series(6, 17)];
/// The series of `--short`: old ones that lack most of what deadpeer uses; the gate's own kernel is a new one.
const SHORT: [Series; 2] = [Series(5, 10), Series(6, 1)];

/// `cargo xtask kernels`
#[derive(Debug, Args)]
pub(crate) struct Kernels {
    /// The series to boot, as "6.1,6.12"; "all" for each that the archive has
    /// [default: 5.10, 6.1, 6.12, 6.17 and the newest]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    kernels: Vec<String>,
    /// The checks to run, by the names of the table's columns
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = known_check)]
    checks: Vec<&'static Check>,
    /// For the gate: two kernels, `demo`, `lab` and `safety`; skip with the reason what this machine lacks
    #[arg(long)]
    short: bool,
    /// End a kernel that takes longer, in seconds of this machine's time
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// List the kernels that the archive has and those that are cached, and boot none
    #[arg(long)]
    list: bool,
    /// Fetch the newest package of each series, also where an older one is cached
    #[arg(long)]
    update: bool,
    /// Add arguments to the kernels' command line
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Print everything that the checks print
    #[arg(long)]
    verbose: bool,
}

/// The context of an error that is no fault of the project: `--short` skips then.
#[derive(Debug)]
struct Lacking;

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("other kernels can't be run on this machine")
    }
}

/// The kernels to boot, oldest first, and those that can't be had, with the reason.
struct Fetched {
    found: Vec<Kernel>,
    missing: Vec<(Series, String)>,
}

fn known_check(name: &str) -> Result<&'static Check, String> {
    CHECKS.iter().find(|check| check.name == name).ok_or_else(|| {
        let names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        format!("no such check; there are {}", names.join(", "))
    })
}

impl Kernels {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let interrupt = Interrupt::catch()?;
        match self.list_or_boot(&interrupt) {
            _ if interrupt.came() => {
                eprintln!("interrupted");
                Ok(ExitCode::from(130))
            }
            Err(why) if self.short && why.is::<Lacking>() => {
                println!("skipped: {why:#}");
                Ok(ExitCode::SUCCESS)
            }
            result => result,
        }
    }

    fn list_or_boot(&self, interrupt: &Interrupt) -> Result<ExitCode> {
        let cache = Cache::open(interrupt)?;
        let archive = Archive::new(&cache, interrupt);
        if self.list { self.print_list(&cache, &archive) } else { self.boot_all(&cache, &archive, interrupt) }
    }

    fn print_list(&self, cache: &Cache, archive: &Archive<'_>) -> Result<ExitCode> {
        let offered = archive.kernels(self.update).unwrap_or_else(|why| {
            eprintln!("{why:#}");
            Vec::new()
        });
        let mut all: BTreeSet<_> = offered.iter().map(|package| package.series).collect();
        all.extend(cache.series()?);
        for series in all {
            let name =
                archive::newest(&offered, series).map_or("not in the archive", |package| &package.name);
            let cached = cache.kernel(series).map(|kernel| format!("cached: {}", kernel.title()));
            println!("{}", format!("{series:<6} {name:<44} {}", cached.unwrap_or_default()).trim_end());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn boot_all(&self, cache: &Cache, archive: &Archive<'_>, interrupt: &Interrupt) -> Result<ExitCode> {
        let machine = Machine::find(interrupt).context(Lacking)?;
        let checks = self.chosen_checks();
        let Fetched { found: kernels, missing } = self.fetch(cache, archive)?;
        if kernels.is_empty() {
            let why: Vec<_> = missing.iter().map(|(series, why)| format!("{series}: {why}")).collect();
            return Err(anyhow!("no kernel could be had: {}", why.join("; ")).context(Lacking));
        }
        let scratch = cache.scratch()?;
        programs::require_target(interrupt).context(Lacking)?;
        let programs = Programs::build(&checks, scratch.path(), interrupt)?;
        let mut report = Report::new(&checks);
        for (series, why) in missing {
            report.missing(series, why);
        }
        for kernel in &kernels {
            eprintln!("booting {} …", kernel.title());
            let began = Instant::now();
            let guest = Guest::make(kernel, &checks, &programs, scratch.path(), interrupt)?;
            let run = machine.boot(&guest, Duration::from_secs(self.limit), &self.append, interrupt)?;
            let outcomes = checks::judge(&checks, &run);
            for (check, outcome) in checks.iter().zip(&outcomes) {
                eprintln!("  {:<12} {outcome}", check.name);
                if self.verbose || outcome.is_failure() {
                    eprint!("{}", outcome.evidence(self.verbose));
                }
            }
            report.add(Row { kernel: kernel.title(), outcomes, took: began.elapsed() });
        }
        println!("{report}");
        Ok(if report.has_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn chosen_checks(&self) -> Vec<&'static Check> {
        match self.checks.as_slice() {
            [] => CHECKS.iter().filter(|check| check.in_short || !self.short).collect(),
            chosen => chosen.to_vec(),
        }
    }

    fn fetch(&self, cache: &Cache, archive: &Archive<'_>) -> Result<Fetched> {
        let named = self.named()?;
        let is_cached = |series: &Series| cache.kernel(*series).is_some();
        let offered = match &named {
            // Then no network is needed.
            Some(named) if !self.update && named.iter().all(is_cached) => Ok(Vec::new()),
            _ => archive.kernels(self.update),
        };
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for series in named.unwrap_or_else(|| self.usual(offered.as_deref().unwrap_or_default())) {
            match self.fetch_one(series, cache, archive, &offered) {
                Ok(kernel) => found.push(kernel),
                Err(why) => missing.push((series, format!("{why:#}"))),
            }
        }
        Ok(Fetched { found, missing })
    }

    /// The series that were asked for by name.
    fn named(&self) -> Result<Option<BTreeSet<Series>>> {
        match self.kernels.as_slice() {
            [] if self.short => Ok(Some(SHORT.into())),
            [] => Ok(None),
            [all] if all == "all" => Ok(None),
            named => Ok(Some(named.iter().map(|name| name.parse()).collect::<Result<_>>()?)),
        }
    }

    /// The series that run where none was named.
    fn usual(&self, offered: &[Package]) -> BTreeSet<Series> {
        let all: BTreeSet<_> = offered.iter().map(|package| package.series).collect();
        if self.kernels.is_empty() { all.last().copied().into_iter().chain(USUAL).collect() } else { all }
    }

    fn fetch_one(
        &self,
        series: Series,
        cache: &Cache,
        archive: &Archive<'_>,
        offered: &Result<Vec<Package>>,
    ) -> Result<Kernel> {
        let cached = cache.kernel(series);
        if let (Some(kernel), false) = (&cached, self.update) {
            return Ok(kernel.clone());
        }
        let offered = offered.as_ref().map_err(|why| anyhow!("{why:#}"))?;
        let package = archive::newest(offered, series).context("the archive has no such kernel")?;
        if let Some(kernel) = cached.filter(|kernel| package.name.ends_with(&kernel.release)) {
            return Ok(kernel);
        }
        archive.fetch(package)
    }
}
