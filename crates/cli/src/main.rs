//! The `deadpeer` command: arguments, one call into the library, a table or JSON lines.
#![forbid(unsafe_code)]

mod args;
mod demo;
mod exit;
mod lab;
mod scan;
mod signals;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    let ended = match Args::parse().command {
        Command::Scan(scan) => scan::run(&scan),
        Command::Demo(demo) => demo::run(&demo),
        Command::Lab(lab) => lab::run(&lab),
    };
    exit::code(ended)
}
