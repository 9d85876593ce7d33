//! Thousands of sessions with heartbeats in one process.
//!
//! A task for each of twenty thousand connections that say something every ten seconds is a thousand bytes and
//! a timer each. Here a loop per core holds all of its sessions in
//! [`Columns`](deadpeer_core::session::Columns), and wakes for many of them at once. It speaks the protocol of
//! [`deadpeer_core::session`], as every other program does that uses that engine or `docs/protocol.md`.
//!
//! - [`Server`] accepts sessions, and tells who came, who left and who died, and why. With a place to forward
//!   to, each session is joined to a TCP connection to that place.
//! - [`Gateway`] is the other end of that: programs connect to it, and each of their connections is carried
//!   through a session of its own to a server.
//! - [`Client`] keeps one session up, and comes back.
//!
//! When either side of a joined connection dies, the other side's program sees its connection end: by a reset,
//! never by an end of file that could be taken for the end of the data.
#![forbid(unsafe_code)]

mod client;
mod clock;
mod config;
mod crew;
mod dial;
mod door;
mod event;
mod gateway;
mod hub;
mod place;
mod server;
mod shared;
mod tls;
mod worker;

pub use client::{Client, ClientConfig};
pub use config::{Config, Limits};
pub use event::{Ending, Event, Refusal, Who};
pub use gateway::{Gateway, GatewayConfig};
pub use place::{BadPlace, Place};
pub use server::{Server, ServerConfig};
pub use shared::{Counters, SessionStatus};
pub use tls::{ClientTls, ServerTls, TlsError};
