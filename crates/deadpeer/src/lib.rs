//! Know within seconds, not hours, that a TCP peer is gone, and why.
//!
//! Two ways in:
//!
//! - Whoever writes a client or a server says what is wanted and applies it to any socket:
//!
//!   ```
//!   use std::net::TcpListener;
//!   use std::time::Duration;
//!   use deadpeer::{Policy, apply};
//!
//!   let policy = Policy::detect(Duration::from_secs(15)).survive(Duration::from_secs(5)).build()?;
//!   let listener = TcpListener::bind("127.0.0.1:0")?;
//!   let applied = apply(&listener, &policy)?; // accepted sockets inherit it
//!   assert!(applied.gaps.is_empty(), "this kernel took all of it: {:?}", applied.gaps);
//!   # Ok::<(), Box<dyn std::error::Error>>(())
//!   ```
//!
//! - Whoever runs programs judges the connections of the whole machine: [`host`].
//!
//! What is wanted, what is set, what was seen and what it proves are the types of [`deadpeer_core`], all of
//! them re-exported here.

pub use deadpeer_core::*;

#[cfg(target_os = "linux")]
mod apply;
mod goals;
#[cfg(target_os = "linux")]
pub mod host;
mod near;

#[cfg(target_os = "linux")]
pub use apply::{ApplyError, apply, protection};
#[cfg(target_os = "linux")]
pub use deadpeer_os::linux::settings::{Applied, Gap};
#[cfg(target_os = "linux")]
pub use deadpeer_os::linux::sysctl::platform;
pub use goals::{Goals, GoalsError};
