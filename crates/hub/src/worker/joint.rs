//! A session joined to a plain connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use deadpeer_core::Settings;
use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::buffer::Buffer;
use super::table::write_some;
use crate::shared::Account;

/// The plain side of a session, and what is under way to it.
#[derive(Debug, Default)]
pub(super) struct Joint {
    /// `None` until there is somebody to join to, and after its loss.
    pub plain: Option<TcpStream>,
    /// The addresses to try, and which one is tried.
    pub dial: Option<(Arc<[SocketAddr]>, usize)>,
    /// Bytes for the plain side that it has not taken yet.
    to_plain: Buffer,
    /// So many bytes of a message are still to come from the session.
    pub rest: u32,
    /// The session may have more, but was not read: the plain side takes nothing.
    pub session_waits: bool,
    /// The plain side may have more, but was not read: the session takes nothing.
    pub plain_waits: bool,
    /// The session sends no more: the plain side is to be told after what waits.
    pub session_ended: bool,
    /// It was told.
    shut: bool,
    /// The plain side sends no more.
    pub plain_ended: bool,
    /// The session is over, and all that is left is what waits for the plain side.
    pub draining: bool,
}

impl Joint {
    /// With a plain connection that is there already.
    pub(super) fn with(plain: TcpStream) -> Self {
        Self { plain: Some(plain), plain_waits: true, ..Self::default() }
    }

    /// With one that is still to be made.
    pub(super) fn to(places: Arc<[SocketAddr]>) -> Self {
        Self { dial: Some((places, 0)), ..Self::default() }
    }

    /// Whether the plain side takes no more at present, so the session is not to be read.
    pub(super) const fn is_full(&self) -> bool {
        !self.to_plain.is_empty()
    }

    /// Whether both sides have said all they had to say. Else an end is no end of the data.
    pub(super) const fn is_whole(&self) -> bool {
        self.session_ended && self.plain_ended
    }

    /// Hands on what came from the session.
    pub(super) fn deliver(&mut self, piece: &[u8], account: &Arc<Account>) -> io::Result<()> {
        let written = match &self.plain {
            Some(plain) if self.dial.is_none() && self.to_plain.is_empty() => write_some(plain, piece)?,
            // It is lost, and nobody will take it.
            None if self.dial.is_none() => return Ok(()),
            _ => 0,
        };
        self.to_plain.push(&piece[written..], account);
        Ok(())
    }

    /// Writes what waits, and then that the session has ended. Says whether all of it went.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Some(plain) = &self.plain else { return Ok(false) };
        if self.dial.is_some() {
            return Ok(false);
        }
        let written = write_some(plain, self.to_plain.waiting())?;
        self.to_plain.wrote(written);
        if !self.to_plain.is_empty() {
            return Ok(false);
        }
        if self.session_ended && !self.shut {
            self.shut = true;
            match plain.shutdown(std::net::Shutdown::Write) {
                // Its other direction has ended as well.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                result => result?,
            }
        }
        Ok(true)
    }

    /// Ends the plain connection so that nobody takes that for the end of the data: by a reset.
    pub(super) fn abort(&mut self) {
        if let Some(plain) = self.plain.take() {
            reset_on_close(&plain);
        }
        self.dial = None;
        self.to_plain = Buffer::default();
    }
}

/// Lets the close of `stream` be a reset, and leave nothing behind in the kernel.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    // Where that can't be set it closes as usual.
    let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}

/// Begins a connection.
pub(super) fn dial(address: SocketAddr, settings: Option<&Settings>) -> io::Result<TcpStream> {
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

/// What the system does not take is no reason to leave the connection.
pub(super) fn protect(socket: &Socket, settings: &Settings) {
    let _ = deadpeer::apply_settings(socket, settings);
}

/// Whether a connection that was begun is made; `None` while that is open.
pub(super) fn made(stream: &TcpStream) -> Option<io::Result<()>> {
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
