//! macOS and FreeBSD: what differs between them stands in [`sockopt`] and [`tcp_info`], as data.
//!
//! Type-checked only: nothing here has run on either of them.

pub mod settings;
pub mod sockopt;
pub mod stream;
pub mod sysctl;
pub mod tcp_info;

pub use crate::unix::wait;
pub use sysctl::platform;
