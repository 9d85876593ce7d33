//! Two ends of a connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::{Network, Severed, sever};

/// Both ends of an established connection.
#[derive(Debug)]
pub struct Pair {
    /// The end that connected.
    pub client: TcpStream,
    /// The end that accepted.
    pub server: TcpStream,
}

impl Pair {
    /// Over the loopback link of this thread's network namespace.
    ///
    /// # Errors
    /// Of bind(2), connect(2) and accept(2).
    pub fn loopback() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let server = accept_from(&listener, client.local_addr()?)?;
        Ok(Self { client, server })
    }

    /// From the left host to an address of the right one.
    ///
    /// # Errors
    /// Of bind(2), connect(2) and accept(2), and as [`Network::run`].
    pub fn across(network: &Network, right: IpAddr) -> io::Result<Self> {
        let listener = network.right(|| TcpListener::bind((right, 0)))?;
        let address = listener.local_addr()?;
        let client = network.left(|| TcpStream::connect(address))?;
        let server = accept_from(&listener, client.local_addr()?)?;
        Ok(Self { client, server })
    }

    /// Makes both ends deaf: see [`sever`].
    ///
    /// # Errors
    /// As [`sever`].
    pub fn sever(&self) -> io::Result<Severed<'_>> {
        sever(&self.client, &self.server)
    }
}

/// Accepts the connection from `client`, and closes any others: loopback is everybody's.
fn accept_from(listener: &TcpListener, client: SocketAddr) -> io::Result<TcpStream> {
    loop {
        let (stream, from) = listener.accept()?;
        if from == client {
            return Ok(stream);
        }
    }
}

/// Writes zeros until neither the peer's window nor our send buffer takes any more; returns how many bytes.
///
/// The peer must not be reading. Returns once nothing has moved for 100 ms, far longer than a delayed
/// acknowledgement (40 ms), and leaves the stream's blocking mode alone.
///
/// # Errors
/// Of send(2) and poll(2).
pub fn fill(stream: &TcpStream) -> io::Result<usize> {
    const SETTLED: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let zeros = [0; 64 * 1024];
    let mut written = 0;
    let mut settled = false;
    loop {
        match send(stream, &zeros, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(length) => {
                written += length;
                settled = false;
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if settled => return Ok(written),
            Err(Errno::AGAIN) => {
                // That poll sees no room is not enough: it wants a third of the buffer, send takes any.
                let mut writable = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::OUT)];
                settled = rustix::io::retry_on_intr(|| poll(&mut writable, Some(&SETTLED)))? == 0;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}
