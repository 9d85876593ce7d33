//! Sessions: messages over any stream, with heartbeats that notice a death on both sides.
//!
//! For new programs; those that have a protocol of their own drive a [`Heartbeat`](crate::Heartbeat)
//! themselves. Both sides [`open`](tokio::open) a session over a connected stream; which of them connected
//! does not matter. Each offers how often it beats and how long it waits ([`Offer`]), and the two agree as
//! BFD's sides do (RFC 5880). The bytes are described in `docs/protocol.md`.
//!
//! - Both sides notice a death, whoever has something to send; a hung application, too, which no kernel
//!   notices.
//! - Who reads slowly, lives: while a program takes no messages, nothing is read, and the peer's silence is
//!   not held against it.
//! - A pause of one's own (the process was stopped, the machine slept) is not the peer's silence.
//! - Dropping a session says goodbye.

mod blocking;
mod blocking_stream;
mod clock;
mod connector;
mod engine;
#[cfg(feature = "tokio")]
#[path = "with_tokio.rs"]
pub mod tokio;
#[cfg(feature = "tokio")]
mod with_tokio_connector;
#[cfg(feature = "tokio")]
mod with_tokio_stream;

pub use blocking::Session;
pub use blocking_stream::SessionStream;
pub use clock::seed;
pub use connector::{Connector, Transition};
pub use deadpeer_core::protocol::{Bye, Config, Offer, Reason};
