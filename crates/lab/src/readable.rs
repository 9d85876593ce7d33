//! The oldest question of all.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use deadpeer_os::AsSock;
use deadpeer_os::current::wait::wait;

/// Waits with poll(2), on Windows WSAPoll, until a read would not block: data, end of file or an error. Whether
/// it came to that within `patience`.
///
/// # Errors
/// Of poll.
pub fn readable_within(stream: &TcpStream, patience: Duration) -> io::Result<bool> {
    wait(stream.as_sock(), true, false, None, Some(patience))
}
