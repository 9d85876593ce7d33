//! The programs under test, and where they are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// They tell the process in the namespace what the process outside has built.
const DEADPEER: &str = "DEADPEER_BENCH_COMMAND";
const FLOOR: &str = "DEADPEER_BENCH_FLOOR";

/// The programs that this project brings along. (`ss` is found on the path.)
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) deadpeer: PathBuf,
    pub(super) floor: PathBuf,
}

impl Programs {
    /// Builds them; the command only if it isn't `given`.
    pub(super) fn build(given: Option<&Path>) -> Result<Self> {
        let deadpeer = match given {
            Some(path) => path.canonicalize().with_context(|| format!("--deadpeer {}", path.display()))?,
            None => build_deadpeer()?,
        };
        Ok(Self { deadpeer, floor: build_floor()? })
    }

    /// If this is the process in the namespace: what the process outside handed down.
    pub(super) fn from_environment() -> Option<Self> {
        Some(Self { deadpeer: env::var_os(DEADPEER)?.into(), floor: env::var_os(FLOOR)?.into() })
    }

    /// Lets the process that `command` starts find them.
    pub(super) fn hand_down(&self, command: &mut Command) {
        command.env(DEADPEER, &self.deadpeer).env(FLOOR, &self.floor);
    }
}

/// A line of what Cargo says about its builds; `executable` is all that is of interest here.
#[derive(Deserialize)]
struct CargoMessage {
    executable: Option<PathBuf>,
}

fn build_deadpeer() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--package", "deadpeer-cli", "--bin", "deadpeer"])
        // Only Cargo knows the target directory and what the user's settings add to it.
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .context("start `cargo build`")?;
    if !output.status.success() {
        bail!("`cargo build --release -p deadpeer-cli` failed; --deadpeer PATH measures one built before");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<CargoMessage>(line).ok()?.executable)
        .next_back()
        .context("`cargo build` named no executable: has the binary of deadpeer-cli another name now?")
}

fn build_floor() -> Result<PathBuf> {
    compile("src/bench/floor.c", "bench-floor")
}

/// Compiles a C program of this crate.
pub(super) fn compile(source: &str, name: &str) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let program = beside_this(name)?;
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-o"])
        .args([&program, &source])
        .status()
        .context("start `cc`: a C compiler is needed")?;
    if !status.success() {
        bail!("`cc` could not compile {}: are the kernel's headers installed?", source.display());
    }
    Ok(program)
}

/// A path beside this executable, that is in Cargo's target directory.
pub(super) fn beside_this(name: &str) -> Result<PathBuf> {
    Ok(env::current_exe().context("find this executable")?.with_file_name(name))
}
