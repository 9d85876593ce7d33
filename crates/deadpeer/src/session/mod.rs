//! Sessions: messages over any stream, with heartbeats that notice a death on both sides.
//!
//! For new programs; a program that has a protocol of its own drives a [`Heartbeat`](crate::Heartbeat) itself. The side
//! that opened the stream calls [`Session::connect`], the side that accepted it [`Session::accept`]. Each offers how often
//! it sends and how long it waits ([`Offer`]), and the two agree. `docs/protocol.md` describes the bytes, and
//! [`deadpeer_core::session`] is the engine: here are threads, tasks and sockets around it.
//!
//! - Both sides notice a death, also if neither has anything to send. They notice a hung application, too, which no kernel
//!   notices ([`Loss::Hung`](crate::Loss::Hung), where the session knows its socket).
//! - The stream is always read, so a program that takes no messages still learns of the peer's death. Flow control bounds what
//!   waits for it: [`Terms::window`](deadpeer_core::session::Terms::window).
//! - What arrived before a loss is received before the loss is reported.
//! - A pause of this process (it was stopped, the machine slept) is not taken for the peer's silence.
//! - Dropping a session says goodbye: the peer receives everything that was sent, and then an end without an error.
//! - Each [`PeerLost`](crate::PeerLost) of a session carries its last 32 events.

mod blocking;
mod blocking_stream;
mod clock;
mod config;
mod connector;
mod layered;
mod refused;
mod state;
#[cfg(feature = "tokio")]
#[path = "with_tokio.rs"]
pub mod tokio;
#[cfg(feature = "tokio")]
mod with_tokio_connector;
#[cfg(feature = "tokio")]
mod with_tokio_driver;
#[cfg(feature = "tokio")]
mod with_tokio_stream;

pub use blocking::{Receiver, Sender, Session};
pub use blocking_stream::SessionStream;
pub use clock::seed;
pub use config::Config;
pub use connector::{Connector, Transition};
pub use deadpeer_core::session::{Bye, Happened, Offer, Peer, Reason, Terms, What};
pub use layered::Layered;
pub use refused::Refused;
