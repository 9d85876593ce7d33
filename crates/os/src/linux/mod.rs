//! Linux.

pub mod netlink;
pub mod sockopt;
