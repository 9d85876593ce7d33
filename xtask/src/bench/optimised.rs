//! Part of what is measured is in this very program: then an unoptimised one starts the optimised.

use std::env;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

/// If this program isn't optimised: runs the one that is, with the same arguments. Gives how that ended.
pub(super) fn run_again() -> Result<Option<ExitCode>> {
    if !cfg!(debug_assertions) {
        return Ok(None);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
        .args(env::args_os().skip(1))
        .status()
        .context("cargo run --release --package xtask")?;
    Ok(Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}
