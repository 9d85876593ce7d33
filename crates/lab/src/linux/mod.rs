//! The faults that take Linux' means.

mod capture;
mod cut;
mod deaf;
mod foreign;
mod forgotten;
mod hosts;
mod impaired;
mod isolated;
mod loopback;
mod network;
mod unavailable;
mod unplugged;

pub use capture::{Capture, Segment};
pub use cut::{Cut, Direction};
pub use deaf::{Deaf, Severed, deafen, sever};
pub use foreign::Foreign;
pub use forgotten::forget;
pub use hosts::Hosts;
pub use impaired::{Chance, Counters, ImpairedLink, Impairment, Rejection, Side};
pub use isolated::isolated;
#[doc(hidden)]
pub use isolated::test_name;
pub use loopback::Loopback;
pub use network::{Network, Place};
pub use unavailable::{Unavailable, skip};
pub use unplugged::Unplugged;
