//! An impaired link does to packets what it was told, and nothing else.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in helpers of tests")]

mod chance;
mod common;
mod limits;
mod losses;
mod refusals;
mod times;
