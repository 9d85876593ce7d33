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
//!   [`guard()`] does the same for one stream and makes its errors say why the peer is gone; [`diagnose()`]
//!   looks at a socket in all the classic ways. The [guide] leads through it.
//!
//! - Whoever runs programs judges the connections of the whole machine (Linux): [`host`].
//!
//! Linux is its home; for Windows it is tested under wine, for macOS and FreeBSD type-checked. What a system did
//! not take is reported ([`Gap`]), what it does not tell says why ([`Known`]).
//!
//! What is wanted, what is set, what was seen and what it proves are the types of [`deadpeer_core`], all of
//! them re-exported here.

pub use deadpeer_core::*;

#[cfg(target_os = "linux")] // its examples are judged by what Linux tells
#[doc = include_str!("../../../docs/guarding.md")]
pub mod guide {}

mod apply;
mod diagnose;
mod goals;
mod guard;
#[cfg(target_os = "linux")]
pub mod host;
#[cfg(any(target_os = "linux", feature = "toml"))]
mod near;
pub mod session;

pub use apply::{Applied, ApplyError, Shortfall, apply, apply_settings, before_close, protection};
pub use deadpeer_os::current::platform;
pub use deadpeer_os::current::settings::{Amount, Gap};
pub use deadpeer_os::current::stream::{Peek, Readiness, prepare_session};
pub use deadpeer_os::{AsSock, BorrowedSock};
pub use diagnose::{Diagnosis, diagnose};
pub use goals::{Goals, GoalsError};
pub use guard::{Guarded, Loss, Mechanism, PeerLost, guard, is_lost, is_over, lost_within, over_within};
#[cfg(feature = "tokio")]
pub use guard::{lost, over};
