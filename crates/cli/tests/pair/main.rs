//! `deadpeer serve` and `deadpeer connect`, run as their users run them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

#[path = "../real/common.rs"]
#[allow(dead_code)] // scans are asked for elsewhere
mod common;
mod encrypted;
mod faults;
mod rules;
#[allow(dead_code)] // the crowds ask for more
mod served;
mod signals;
mod status;
mod through;
#[allow(dead_code)] // the crowds ask for more
mod told;
