//! Real faults for TCP connections, on one machine: for the tests of programs that must notice them.
//!
//! Nothing here is simulated: the kernel's own TCP meets the silence of the kernel's own router.
//!
//! | what fails | how | what the other end gets |
//! |---|---|---|
//! | the peer's host, or the path | [`sever`]: both sockets [deaf](deafen); [`Network::cut`] | silence |
//! | the peer's kernel hears nothing | [`deafen`] one socket | its retransmissions and probes, no answers |
//! | the peer's host reboots; a NAT forgets and refuses | [`forget`] | RST, once it sends |
//! | the peer's process hangs | [`freeze`] | acknowledgements: its kernel lives |
//! | the peer reads no more | [`fill`] | a shut window |
//! | a route | [`Network::unreachable`] | ICMP: unreachable |
//! | our own cable | [`Network::unplug`] | no carrier |
//!
//! Every fault is a value; dropping it heals the fault. What is forgotten stays so. A frozen process and a shut window need no privilege;
//! the others take root's. In an [`isolated!`] test everybody has them.
//!
//! ```no_run
//! use deadpeer_lab::{Direction, Network, Pair, isolated};
//! use std::io::Write;
//!
//! #[test]
//! fn nothing_gets_through_a_cut_path() {
//!     isolated!(|| {
//!         let network = Network::new().unwrap();
//!         let mut pair = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
//!         let cut = network.cut(Direction::Both).unwrap();
//!         pair.client.write_all(b"is anybody there?").unwrap();
//!         // … the client waits for an answer, and must notice that none comes …
//!         cut.heal().unwrap();
//!     });
//! }
//! ```
#![cfg(target_os = "linux")]

mod capture;
mod cut;
mod deaf;
mod foreign;
mod forgotten;
mod frozen;
mod isolated;
mod loopback;
mod network;
mod pair;
mod program;
mod unavailable;
mod unplugged;

pub use capture::{Capture, Segment};
pub use cut::{Cut, Direction};
pub use deaf::{Deaf, Severed, deafen, sever};
pub use foreign::Foreign;
pub use forgotten::forget;
pub use frozen::{Frozen, freeze};
pub use isolated::isolated;
#[doc(hidden)]
pub use isolated::test_name;
pub use loopback::Loopback;
pub use network::{Network, Place};
pub use pair::{Pair, fill};
pub use program::Program;
pub use unavailable::{Unavailable, skip};
pub use unplugged::Unplugged;
