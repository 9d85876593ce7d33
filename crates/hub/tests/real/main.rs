//! Servers, clients and gateways on real sockets, and with real faults.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod carried;
mod common;
mod faults;
mod rude;
mod secret;
