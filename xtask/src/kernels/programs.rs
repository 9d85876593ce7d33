//! The programs that run on the other kernels: built static, with no debug information.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::checks::{Check, Suite, Work};
use super::command::{Interrupt, output};

const TARGET: &str = "x86_64-unknown-linux-musl";

/// What was built.
#[derive(Debug)]
pub(super) struct Programs {
    /// The command, and the path at which tests look for it: it is compiled into them.
    pub(super) deadpeer: Program,
    /// The test programs of each suite, in the order in which cargo names them.
    suites: Vec<(&'static Suite, Vec<Program>)>,
}

/// A program that was built and stripped.
#[derive(Debug)]
pub(super) struct Program {
    /// Where cargo put it.
    pub(super) built: PathBuf,
    /// The stripped copy.
    pub(super) stripped: PathBuf,
}

/// What cargo prints of each thing that it builds; the rest is of no interest here.
#[derive(Debug, Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

impl Programs {
    /// Builds what the checks need. The stripped copies lie in `scratch`.
    pub(super) fn build(checks: &[&'static Check], scratch: &Path, interrupt: &Interrupt) -> Result<Self> {
        eprintln!("building the programs for {TARGET} …");
        let messages = cargo(&["build", "--package", "deadpeer-cli", "--bin", "deadpeer"], interrupt)?;
        let built = messages.into_iter().filter(|message| message.target_name() == "deadpeer");
        let built = built.filter_map(|message| message.executable).next_back();
        let deadpeer = strip(built.context("cargo names no deadpeer")?, scratch, interrupt)?;
        let mut suites: Vec<(&'static Suite, Vec<Program>)> = Vec::new();
        for check in checks {
            let Work::Tests { suite, .. } = &check.work else { continue };
            if suites.iter().any(|(built, _)| built.cargo == suite.cargo) {
                continue;
            }
            let messages = cargo(&[&["test", "--no-run"], suite.cargo].concat(), interrupt)?;
            let tests =
                messages.into_iter().filter(|message| message.profile.as_ref().is_some_and(|p| p.test));
            let programs = tests
                .filter_map(|message| message.executable)
                .map(|built| strip(built, scratch, interrupt))
                .collect::<Result<Vec<_>>>()?;
            if programs.is_empty() {
                bail!("`cargo test {}` has built no test", suite.cargo.join(" "));
            }
            suites.push((suite, programs));
        }
        Ok(Self { deadpeer, suites })
    }

    /// The test programs of a suite.
    pub(super) fn of(&self, suite: &Suite) -> &[Program] {
        let found = self.suites.iter().find(|(built, _)| built.cargo == suite.cargo);
        found.map(|(_, programs)| programs.as_slice()).unwrap_or_default()
    }

    /// Every program.
    pub(super) fn all(&self) -> impl Iterator<Item = &Program> {
        std::iter::once(&self.deadpeer).chain(self.suites.iter().flat_map(|(_, programs)| programs))
    }
}

impl Program {
    /// The file's name.
    pub(super) fn name(&self) -> String {
        self.stripped.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Message {
    fn target_name(&self) -> &str {
        self.target.as_ref().map_or("", |target| &target.name)
    }
}

/// Checks that this machine can build for the target.
pub(super) fn require_target(interrupt: &Interrupt) -> Result<()> {
    let libs = output(
        Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).args([
            "--print",
            "target-libdir",
            "--target",
            TARGET,
        ]),
        interrupt,
    )?;
    if !Path::new(libs.trim()).exists() {
        bail!("Rust's standard library for {TARGET} is missing: rustup target add {TARGET}");
    }
    for (program, package) in [("musl-gcc", "musl-tools"), ("strip", "binutils")] {
        output(Command::new(program).arg("--version"), interrupt)
            .with_context(|| format!("apt-get install {package}"))?;
    }
    Ok(())
}

fn cargo(args: &[&str], interrupt: &Interrupt) -> Result<Vec<Message>> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args).args(["--target", TARGET, "--message-format=json-render-diagnostics"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let messages = output(&mut cargo, interrupt).with_context(|| format!("cargo {}", args.join(" ")))?;
    messages
        .lines()
        // What a build script or a test prints is no message.
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).context("read what cargo says"))
        .collect()
}

fn strip(built: PathBuf, scratch: &Path, interrupt: &Interrupt) -> Result<Program> {
    let name = built.file_name().context("a program without a name")?;
    let stripped = scratch.join(name);
    output(Command::new("strip").arg("-o").arg(&stripped).arg(&built), interrupt)?;
    Ok(Program { built, stripped })
}
