//! Telling a socket its settings, and reading back what it took: tcp(4) of both systems.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use deadpeer_core::{Protection, Set, Settings};

use super::sockopt;
pub use crate::settings::{Amount, Applied, Error, Gap, has};
use crate::unix::settings::Options;

const OPTIONS: Options = Options {
    on: sockopt::SO_KEEPALIVE,
    idle: sockopt::IDLE,
    interval: sockopt::TCP_KEEPINTVL,
    probes: sockopt::TCP_KEEPCNT,
    bound: sockopt::BOUND,
    bound_unit: Duration::from_secs(1),
};

/// Sets what `settings` say, then reads back. Durations are rounded up to whole seconds. `SO_KEEPALIVE` is set
/// last, so that the first probe is timed with the new values.
///
/// # Errors
/// [`Error`] when the socket takes no such options (not TCP, closed). What there is no option for here, the
/// ceiling of retransmission pauses, is no error but a [`Gap`].
pub fn apply(sock: BorrowedFd<'_>, settings: &Settings) -> Result<Applied, Error> {
    let mut gaps = Vec::new();
    if let Set::To(ceiling) = settings.rto_max {
        let error = io::Error::new(io::ErrorKind::Unsupported, "this system has no such option");
        gaps.push(Gap::refused("TCP_RTO_MAX_MS", Amount::Time(ceiling), error));
    }
    OPTIONS.apply(sock, settings, gaps, read)
}

/// Reads what a socket has set.
///
/// # Errors
/// The error of the first call, on `SO_KEEPALIVE`; what fails later is unknown in the result.
pub fn read(sock: BorrowedFd<'_>) -> io::Result<Protection> {
    OPTIONS.read(sock)
}
