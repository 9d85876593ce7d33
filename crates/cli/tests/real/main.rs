//! The real binary on real connections with real faults, each case in a network namespace of its own.
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

mod command;
mod common;
mod limits;
mod prediction;
mod safety;
mod servers;
mod verdicts;
