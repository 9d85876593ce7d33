//! The session's frames as bytes: `docs/protocol.md` describes them.

mod bye;
mod frame;
mod hello;
mod malformed;
#[cfg(test)]
mod tests;

pub use bye::{Bye, Reason, Text};
pub use frame::{DATA_HEAD, Frame, Head, MOST_DATA, data_head};
pub use hello::{Hello, Offer};
pub use malformed::Malformed;

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 2;
