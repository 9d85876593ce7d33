//! The `deadpeer` command: arguments, one call into the library, a table or JSON lines.
#![forbid(unsafe_code)]
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "much serves what is Linux' alone"))]

#[cfg(target_os = "linux")]
mod alone;
mod args;
#[cfg(target_os = "linux")]
mod demo;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod exit;
mod explain;
mod goals;
mod help;
mod lab;
mod manual;
mod pair;
#[cfg(target_os = "linux")]
mod ping;
mod plan;
mod prose;
#[cfg(target_os = "linux")]
mod scan;
mod signals;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
#[cfg(not(target_os = "linux"))]
use elsewhere::{demo, ping, scan};

fn main() -> ExitCode {
    let ended = match Args::parse().command {
        Command::Scan(scan) => scan::run(&scan),
        Command::Plan(plan) => plan::run(&plan),
        Command::Explain(explain) => explain::run(&explain),
        Command::Ping(ping) => ping::run(&ping),
        Command::Demo(demo) => demo::run(&demo),
        Command::Lab(lab) => lab::run(&lab),
        Command::Serve(serve) => pair::serve(&serve),
        Command::Connect(connect) => pair::connect(&connect),
        Command::Help(help) => help::run(&help),
        Command::Man(man) => manual::man(&man),
        Command::Completions(completions) => manual::completions(&completions),
    };
    exit::code(ended)
}
