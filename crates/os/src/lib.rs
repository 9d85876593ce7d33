//! The system calls behind [deadpeer](https://docs.rs/deadpeer): socket options, TCP_INFO, sock_diag,
//! pidfds and namespaces.
//!
//! One folder an operating system. This crate takes no policy decision, prints nothing, and is the only
//! one (with the C ABI) that may use `unsafe`; each block says why it is sound. What comes from the
//! kernel is checked once, here, and handed on as values of [`deadpeer_core`].
//!
//! [`current`] is the running system's folder. In all of them:
//!
//! - `settings`: `apply` and `read` what a socket has set;
//! - `stream`: what is known of a socket of our own, and waiting for its end;
//! - `wait`: waiting for a socket or for another thread;
//! - `platform`: the system's defaults.

mod option;
mod settings;
mod socket;
mod stream;

#[cfg(any(target_os = "macos", target_os = "freebsd"))]
pub mod bsd;
#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
pub mod windows;

#[cfg(any(target_os = "macos", target_os = "freebsd"))]
pub use bsd as current;
#[cfg(target_os = "linux")]
pub use linux as current;
pub use socket::{AsSock, BorrowedSock};
#[cfg(windows)]
pub use windows as current;
