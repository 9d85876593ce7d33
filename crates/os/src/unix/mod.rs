//! What Linux, macOS and FreeBSD have in common.

pub(crate) mod settings;
pub(crate) mod sockopt;
pub(crate) mod stream;
pub mod wait;
