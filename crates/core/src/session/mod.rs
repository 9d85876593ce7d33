//! The session engine: messages and heartbeats over any ordered byte stream, as `docs/protocol.md` describes them.
//!
//! There is one engine, without a socket and without a clock, in two arrangements:
//!
//! | | for | holds |
//! |---|---|---|
//! | [`Single`] | a thread, a tokio task, a C program: one session | everything: messages, queues, the last events |
//! | [`Columns`] | a loop with thousands of sessions | 36 bytes a session; the loop holds the sockets and bytes in transit |
//!
//! Both work on [`Live`], which is one session's state while it is being worked on. What arrives goes in as bytes
//! ([`Live::bytes_arrived`], [`Live::input`]), time goes in as an argument, and what is to be written comes out as bytes.
//!
//! ```text
//!               the peer's HELLO            admit                     BYE of one side
//!   Greeting ─────────────────────▶ Greeted ─────▶ Up ────────────────────────────────▶ Up, leaving ──▶ Over
//!                                                       the other side's BYE, a RESET, a loss ─────────────▶ Over
//! ```
//!
//! The rules, numbered for the tests:
//!
//! 1. A peer is lost no sooner than its patience after the last byte that arrived from it.
//! 2. It is lost at the first look after that moment, once.
//! 3. While a session is up, something is written in every interval, unless earlier bytes still wait to be written.
//! 4. A begun frame counts as a sign of life; the HELLO's deadline is absolute.
//! 5. DATA never exceeds the credit that its receiver gave.
//! 6. What arrived before a goodbye is delivered before it.
//! 7. A pause of this process is not the peer's silence.

mod columns;
mod flow;
mod history;
mod journal;
mod live;
mod single;
mod state;
mod terms;
#[cfg(test)]
mod tests;
mod wire;

pub use columns::Columns;
pub use flow::Flow;
pub use history::{Happened, History, What};
pub use journal::Journal;
pub use live::{Event, Live};
pub use single::{Failure, Incoming, NotSent, Peer, Single};
pub use state::Session;
pub use terms::{Role, Terms};
pub use wire::{
    Bye, DATA_HEAD, Frame, Head, Hello, MOST_DATA, Malformed, Offer, Reason, Text, VERSION, data_head,
};
