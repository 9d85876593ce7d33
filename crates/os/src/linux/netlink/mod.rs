//! Netlink: requests to the kernel, its answers as checked messages (netlink(7)).
//!
//! [`message`] and [`request`] are pure functions over bytes; [`Socket`] adds the system calls.

pub mod message;
pub mod request;
mod socket;

pub use message::{Attributes, Malformed, Message, Messages};
pub use request::Request;
pub use socket::{Error, Finish, Protocol, Socket};
