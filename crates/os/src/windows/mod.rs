//! Windows.
//!
//! Which of its options a Windows knows depends on its age; each call asks, and what is not known is a gap
//! or [unknown](deadpeer_core::Why::NotOnThisKernel). Nothing goes by version numbers.

mod ioctl;
pub mod process;
pub mod registry;
mod release;
pub mod settings;
pub mod sockopt;
pub mod stream;
pub mod tcp_info;
pub mod wait;

pub use registry::platform;
pub use release::{is_wine, release};
