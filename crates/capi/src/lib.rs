//! deadpeer for C: the functions of `include/deadpeer.h`, which is made of this code.
//!
//! - `error`: failures and panics become a number and a text;
//! - `handles`: objects behind handles, none of which can be misused;
//! - `plain`: structures that grow with their versions;
//! - the others: a few functions each, with their structures, over the library.
//!
//! The types have the names that C sees.
#![allow(non_camel_case_types)]
#![allow(unreachable_pub, reason = "the linker reaches what is `no_mangle`, the header what is `repr(C)`")]

mod apply;
mod diagnose;
mod error;
mod handles;
mod heartbeat;
mod loss;
mod plain;
mod policy;
mod socket;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod version;
