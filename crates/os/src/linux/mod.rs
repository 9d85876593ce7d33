//! Linux.

pub mod ask;
pub mod deaf;
pub mod descriptors;
pub mod diag;
pub mod first_hop;
pub mod foreign;
pub mod lock;
pub mod namespace;
pub mod netlink;
pub mod process;
mod receive_buffer;
pub mod route;
pub mod rtnetlink;
pub mod settings;
pub mod sockopt;
pub mod stream;
pub mod sysctl;
pub mod tcp_info;
pub mod tun;

pub use crate::unix::wait;
pub use sysctl::platform;
