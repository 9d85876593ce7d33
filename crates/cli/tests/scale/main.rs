//! `deadpeer serve` with thousands of clients, healthy and hostile.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

mod crowd;
mod hostile;
#[path = "../pair/served.rs"]
mod served;
mod swarm;
#[path = "../pair/told.rs"]
mod told;
