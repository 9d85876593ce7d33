//! A lock that ends with its holder: the name of an abstract socket (unix(7)).

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A name that one process of this network namespace holds at a time. The kernel takes it back when the
/// holder dies, however it dies; nothing stays in the file system.
#[derive(Debug)]
pub struct Lock {
    _socket: OwnedFd,
}

impl Lock {
    /// Takes the name, or says `None` while somebody else holds it.
    ///
    /// # Errors
    /// Of socket(2) and bind(2).
    pub fn take(name: &str) -> io::Result<Option<Self>> {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        match rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?) {
            Ok(()) => Ok(Some(Self { _socket: socket })),
            Err(Errno::ADDRINUSE) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}
