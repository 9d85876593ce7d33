//! A netlink socket: one request at a time, its answers handed to a closure.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::message::{Malformed, Message, Messages};
use super::request::Request;

/// Which part of the kernel is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Sockets: sock_diag(7).
    SockDiag,
    /// Links, addresses, routes, neighbours: rtnetlink(7).
    Route,
}

/// What ends the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A dump: many messages, then `NLMSG_DONE`.
    Done,
    /// One message.
    First,
    /// The acknowledgement that [`Request::ACK`] asks for.
    Acknowledged,
}

/// Why a request was not answered.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    Call {
        /// Its name.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The kernel answered with an error number.
    Refused(io::Error),
    /// The kernel had more to say than our receive buffer holds (ENOBUFS): the answer has gaps.
    Overrun,
    /// The answer can't be read.
    Malformed(Malformed),
}

impl Error {
    /// Whether asking again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Overrun)
    }

    /// The error number that the kernel refused with.
    pub fn refusal(&self) -> Option<i32> {
        match self {
            Self::Refused(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { call, source } => write!(f, "{call} on a netlink socket failed: {source}"),
            Self::Refused(error) => write!(f, "the kernel refused the netlink request: {error}"),
            Self::Overrun => f.write_str("the kernel's netlink answer overran the receive buffer (ENOBUFS)"),
            Self::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Call { source, .. } | Self::Refused(source) => Some(source),
            Self::Malformed(malformed) => Some(malformed),
            Self::Overrun => None,
        }
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// An open netlink socket. It belongs to the network namespace of the thread that opened it, for good.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// The kernel never puts more into one datagram of a dump (`netlink_dump` in net/netlink/af_netlink.c);
    /// a larger buffer gains nothing.
    const DATAGRAM: usize = 32 * 1024;

    /// Opens a socket in the network namespace of this thread.
    pub fn open(protocol: Protocol) -> Result<Self, Error> {
        let protocol = match protocol {
            Protocol::SockDiag => Some(rustix::net::netlink::SOCK_DIAG),
            Protocol::Route => None, // NETLINK_ROUTE is 0
        };
        let fd =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
                .map_err(|errno| Error::Call { call: "socket", source: errno.into() })?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; Self::DATAGRAM] })
    }

    /// Sends `request` and hands each message of the answer to `each`, until `finish`.
    ///
    /// Returns whether the kernel said that the dump is torn (`NLM_F_DUMP_INTR`): what it lists changed
    /// while it was listed.
    ///
    /// # Errors
    /// Whatever [`Error`] says. After an error the socket may still hold parts of the old answer; they
    /// carry an old sequence number and are passed over by the next call.
    pub fn exchange(
        &mut self,
        request: Request,
        finish: Finish,
        mut each: impl FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> Result<bool, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        self.send(&request.finish(self.sequence))?;
        let mut torn = false;
        loop {
            let length = self.receive()?;
            for message in Messages::new(&self.buffer[..length]) {
                let message = message?;
                if message.sequence != self.sequence {
                    continue;
                }
                torn |= message.flags & Message::FLAG_DUMP_INTERRUPTED != 0;
                match message.kind {
                    Message::ERROR | Message::DONE => {
                        // Not every kernel puts a number behind NLMSG_DONE.
                        let errno = if message.payload.is_empty() { 0 } else { message.errno()? };
                        return match errno {
                            0 => Ok(torn),
                            errno => Err(Error::Refused(io::Error::from_raw_os_error(errno))),
                        };
                    }
                    _ => each(&message)?,
                }
                if finish == Finish::First {
                    return Ok(torn);
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        loop {
            match rustix::net::send(&self.fd, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Call { call: "send", source: errno.into() }),
            }
        }
    }

    /// One datagram into `self.buffer`; returns its length.
    fn receive(&mut self) -> Result<usize, Error> {
        loop {
            // MSG_TRUNC makes the kernel tell the datagram's real length, so a cut one is seen.
            match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC) {
                Ok((_, length)) if length > self.buffer.len() => {
                    return Err(Malformed {
                        offset: self.buffer.len(),
                        what: "a datagram of at most 32 KiB",
                    }
                    .into());
                }
                Ok((_, 0)) => return Err(Malformed { offset: 0, what: "a message" }.into()),
                Ok((_, length)) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => return Err(Error::Overrun),
                Err(errno) => return Err(Error::Call { call: "recv", source: errno.into() }),
            }
        }
    }
}
