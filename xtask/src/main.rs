//! Repeatable work on deadpeer: `cargo xtask help` lists it.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "printing its results is what this program is for")]

#[cfg(target_os = "linux")]
mod bench;
#[cfg(target_os = "linux")]
mod kernels;

use std::process::ExitCode;

use clap::Parser;

/// Repeatable work on deadpeer.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Work {
    /// Measure the command beside its rivals, in one run. Prints which bars hold; fails for none
    #[cfg(target_os = "linux")]
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run the lab, the demo and the tests that depend on the kernel on other kernels, under QEMU
    #[cfg(target_os = "linux")]
    Kernels(kernels::Kernels),
}

fn main() -> ExitCode {
    let result = match Work::parse() {
        #[cfg(target_os = "linux")]
        Work::Bench(bench) => bench.run(),
        #[cfg(target_os = "linux")]
        Work::Kernels(kernels) => kernels.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
