//! Real faults for TCP connections, on one machine: for the tests of programs that must notice them.
//!
//! The kernels' own TCP meets real silence: of a deaf socket, of a router, of a path that loses packets.
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
//! | the path is slow, loses, reorders or rejects packets | [`ImpairedLink::set`] | late answers, some, or none |
//!
//! Every fault is a value; dropping it heals the fault. What is forgotten stays so. A frozen process and a shut
//! window need no privilege, and are there on Windows, macOS and FreeBSD, too; the others are Linux' and take
//! root's. In an [`isolated!`] test everybody has them.
//!
//! ```no_run
//! # #[cfg(target_os = "linux")] mod test {
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
//! # }
//! ```

mod frozen;
mod pair;
mod program;
mod readable;
mod release;

pub use frozen::{Frozen, freeze};
pub use pair::{Pair, fill};
pub use program::Program;
pub use readable::readable_within;
pub use release::release;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::*;
