//! Connecting to one of several addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use deadpeer_core::{Instant, Settings, rounds};
use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

/// An attempt to reach one of several addresses. Each gets its share of the time, so that one that stays silent does not
/// keep the others from being tried.
#[derive(Debug)]
pub(crate) struct Dial {
    places: Arc<[SocketAddr]>,
    /// The places in the order in which they are tried.
    order: Vec<usize>,
    at: usize,
    /// When the present attempt began, and how long it may take.
    since: Instant,
    patience: Duration,
    /// The connection is made; the peer's HELLO may still be to come.
    pub connected: bool,
    failed: String,
}

impl Dial {
    /// Tries `places`, beginning with the one that `worked` before, in `patience` altogether.
    pub(crate) fn new(
        places: Arc<[SocketAddr]>,
        worked: Option<SocketAddr>,
        patience: Duration,
        now: Instant,
    ) -> Self {
        let first = worked.and_then(|worked| places.iter().position(|place| *place == worked)).unwrap_or(0);
        let order: Vec<usize> = rounds(places.len(), first).collect();
        let patience = patience / u32::try_from(order.len().max(1)).unwrap_or(u32::MAX);
        Self {
            places,
            order,
            at: 0,
            since: now,
            patience,
            connected: false,
            failed: "the name has no address".to_owned(),
        }
    }

    /// The address that is tried now.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.places.get(*self.order.get(self.at)?).copied()
    }

    /// Begins with the present address, or the first one after it to which a connection can be begun.
    ///
    /// # Errors
    /// Why the last address can't be tried.
    pub(crate) fn begin(&mut self, settings: Option<&Settings>, now: Instant) -> Result<TcpStream, String> {
        while let Some(address) = self.address() {
            match begin(address, settings) {
                Ok(stream) => {
                    (self.since, self.connected) = (now, false);
                    return Ok(stream);
                }
                Err(error) => self.fail(&error.to_string()),
            }
        }
        Err(self.failed.clone())
    }

    /// The present address can't be reached. [`begin`](Self::begin) goes on with the next one.
    pub(crate) fn fail(&mut self, why: &str) {
        if let Some(address) = self.address() {
            self.failed = format!("connecting to {address}: {why}");
            self.at += 1;
        }
    }

    /// Whether the present attempt has had its time, and there is another address.
    pub(crate) fn is_to_move_on(&self, now: Instant) -> bool {
        now.since(self.since) > self.patience && self.at + 1 < self.order.len()
    }

    /// How long an attempt may take.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether the connection that was begun is made.
    ///
    /// # Errors
    /// Why it can't be made.
    pub(crate) fn is_made(&mut self, stream: &TcpStream) -> io::Result<bool> {
        if !self.connected {
            self.connected = made(stream).transpose()?.is_some();
        }
        Ok(self.connected)
    }
}

fn begin(address: SocketAddr, settings: Option<&Settings>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(settings) = settings {
        protect(&socket, settings);
    }
    match socket.connect(&address.into()) {
        Err(error) if is_under_way(&error) => {}
        result => result?,
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// EINPROGRESS (Unix), WSAEWOULDBLOCK (Windows).
fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) {
        return true;
    }
    error.kind() == io::ErrorKind::WouldBlock
}

/// A setting that the system does not take is no reason to leave the connection.
pub(crate) fn protect(socket: &Socket, settings: &Settings) {
    let _ = deadpeer::apply_settings(socket, settings);
}

/// Whether a connection that was begun is made; `None` while that is open.
fn made(stream: &TcpStream) -> Option<io::Result<()>> {
    match stream.take_error() {
        Err(error) | Ok(Some(error)) => return Some(Err(error)),
        Ok(None) => {}
    }
    match stream.peer_addr() {
        Ok(_) => Some(Ok(())),
        Err(error) if error.kind() == io::ErrorKind::NotConnected || is_under_way(&error) => None,
        Err(error) => Some(Err(error)),
    }
}
