//! The system calls behind [deadpeer](https://docs.rs/deadpeer): socket options, TCP_INFO, sock_diag,
//! pidfds and namespaces.
//!
//! One folder an operating system. This crate takes no policy decision, prints nothing, and is the only
//! one (with the C ABI) that may use `unsafe`; each block says why it is sound. What comes from the
//! kernel is checked once, here, and handed on as values of [`deadpeer_core`].

#[cfg(target_os = "linux")]
pub mod linux;
