//! The real binary on real connections with real faults, each case in a network namespace of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

mod advice;
mod attack;
mod command;
mod common;
mod emit;
#[allow(unreachable_pub, missing_docs)] // it is what `deadpeer plan --emit rust` prints
mod emitted;
mod impaired;
mod lab;
mod limits;
mod paths;
mod ping;
mod plans;
mod prediction;
mod prove;
mod safety;
mod servers;
mod verdicts;
mod who;
