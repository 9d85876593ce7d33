//! Two ends of a connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use deadpeer_os::AsSock;
use deadpeer_os::current::wait::wait;
use socket2::{Domain, Socket, Type};

#[cfg(target_os = "linux")]
use crate::{Hosts, Severed, sever};

/// Both ends of an established connection. The client's port serves no other: its address tells which it is.
#[derive(Debug)]
pub struct Pair {
    /// The end that connected.
    pub client: TcpStream,
    /// The end that accepted.
    pub server: TcpStream,
}

impl Pair {
    /// Over loopback: on Linux that of this thread's network namespace.
    ///
    /// On Windows a child that is started later may inherit the end that accepted, and keep it open.
    ///
    /// # Errors
    /// Of bind(2), connect(2) and accept(2).
    pub fn loopback() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = connect(listener.local_addr()?)?;
        let server = accept_from(&listener, client.local_addr()?)?;
        Ok(Self { client, server })
    }

    /// From the left host of a [`Network`](crate::Network) or an [`ImpairedLink`](crate::ImpairedLink) to an address
    /// of the right one.
    ///
    /// # Errors
    /// Of bind(2), connect(2) and accept(2), of setns(2) and of making a thread.
    #[cfg(target_os = "linux")]
    pub fn across(hosts: &impl Hosts, right: IpAddr) -> io::Result<Self> {
        let listener = hosts.right_host().run(|| TcpListener::bind((right, 0)))?;
        let address = listener.local_addr()?;
        let client = hosts.left_host().run(|| connect(address))?;
        let server = accept_from(&listener, client.local_addr()?)?;
        Ok(Self { client, server })
    }

    /// Makes both ends deaf: see [`sever`].
    ///
    /// # Errors
    /// As [`sever`].
    #[cfg(target_os = "linux")]
    pub fn sever(&self) -> io::Result<Severed<'_>> {
        sever(&self.client, &self.server)
    }
}

/// Connects from a port of its own: connect(2) alone may take one that serves connections to other places.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let any = match address.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => ip.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    socket.connect(&address.into())?;
    Ok(socket.into())
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
/// The peer must not be reading. Returns once nothing has moved for 400 ms, and leaves the stream's blocking mode
/// alone; on Windows the stream is blocking afterwards.
///
/// # Errors
/// Of send(2) and poll(2).
pub fn fill(stream: &TcpStream) -> io::Result<usize> {
    // A window that is smaller than a segment stays open until the first window probe fills it, after about 200 ms.
    const SETTLED: Duration = Duration::from_millis(400);
    // Over loopback each write is a segment. Where the last one is large, Linux 6.17 refuses it although its window
    // allows it, and the window counts as withdrawn instead of shut.
    let zeros = [0; 4 * 1024];
    let mut written = 0;
    let mut settled = false;
    loop {
        match send_now(stream, &zeros) {
            Ok(length) => {
                written += length;
                settled = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && settled => return Ok(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // That poll sees no room is not enough: it wants a third of the buffer, send takes any.
                let since = Instant::now();
                let room = wait(stream.as_sock(), false, true, None, Some(SETTLED))?;
                settled = !room && since.elapsed() >= SETTLED; // a signal ends the wait, too
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sends what can be sent without waiting.
#[cfg(unix)]
fn send_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    use rustix::net::{SendFlags, send};

    // macOS has no NOSIGNAL; Rust's programs ignore SIGPIPE.
    #[cfg(target_os = "macos")]
    let flags = SendFlags::DONTWAIT;
    #[cfg(not(target_os = "macos"))]
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(send(stream, bytes, flags)?)
}

/// As above. Winsock's send has no such flag.
#[cfg(windows)]
fn send_now(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.set_nonblocking(true)?;
    let sent = io::Write::write(&mut stream, bytes);
    stream.set_nonblocking(false)?;
    sent
}
