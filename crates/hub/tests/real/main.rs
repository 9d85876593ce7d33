//! Servers, clients and gateways on real sockets and, on Linux, with real faults.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod carried;
mod common;
#[cfg(target_os = "linux")]
mod faults;
mod rude;
mod secret;
mod slow;
mod whole;
