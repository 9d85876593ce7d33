//! A peer that does not admit this side.

use std::error::Error;
use std::fmt;
use std::io;

use deadpeer_core::session::Bye;

/// The peer refused this side: it said goodbye instead of greeting. It arrives inside an [`io::Error`] of the kind
/// `PermissionDenied`; [`Refused::of`] finds it there.
///
/// A [`Connector`](super::Connector) does not come back before the time that the goodbye names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Why, and when to come back.
    pub bye: Bye,
}

impl Refused {
    /// The refusal that `error` carries, if it is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer refused this side: {}", self.bye)
    }
}

impl Error for Refused {}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, refused)
    }
}
