//! One session of a loop: its socket, and what it needs beyond rest.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use compact_str::CompactString;
use deadpeer_core::Instant;
use deadpeer_core::carried::Carried;
use deadpeer_core::session::{Flow, History};
use mio::net::TcpStream;
use rustls::Connection;

use super::queue::Queue;
use crate::dial::Dial;
use crate::shared::{Account, Granted};
use crate::tls;

/// One session. While it only beats, this and a row of the columns is all there is of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub socket: TcpStream,
    pub address: Address,
    pub id: CompactString,
    pub extra: Option<Box<Extra>>,
}

/// What a session needs that carries data, is encrypted, has received half a frame, or is being made.
#[derive(Debug, Default)]
pub(super) struct Extra {
    pub tls: Option<Box<Connection>>,
    /// The beginning of a control frame, and when its first byte arrived.
    pub part: Vec<u8>,
    pub part_since: Instant,
    pub outgoing: Queue,
    /// A PING that is to be answered once something can be written again.
    pub answer: Option<u32>,
    /// A write failed: what has arrived is read and delivered, and then this is told.
    pub failed: Option<io::Error>,
    /// The stream is being made, or the peer has not greeted: where else to try.
    pub dial: Option<Box<Dial>>,
    pub joint: Option<Box<Joint>>,
    /// Everything is told; what is left is to write the rest and close.
    pub closing: bool,
}

/// The plain side of a session that carries a connection.
#[derive(Debug)]
pub(super) struct Joint {
    pub carried: Carried,
    pub flow: Flow,
    /// What the hub's budget has granted for the window.
    pub granted: Granted,
    pub history: History,
    /// `None` until there is somebody to join to, and after its loss.
    pub plain: Option<TcpStream>,
    pub dial: Option<Box<Dial>>,
    pub to_plain: Queue,
    /// The plain side may have more, and was not read: the session takes nothing at present.
    pub plain_waits: bool,
}

impl Extra {
    fn is_needed(&self) -> bool {
        self.tls.is_some()
            || self.joint.is_some()
            || self.dial.is_some()
            || self.answer.is_some()
            || self.failed.is_some()
            || self.closing
            || !self.part.is_empty()
            || !self.outgoing.is_empty()
    }
}

/// An address in 18 bytes, where [`SocketAddr`] takes 32. It is kept because a connection that was reset has no address
/// any more (getpeername(2): ENOTCONN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    ip: [u8; 16],
    port: u16,
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port: address.port() }
    }
}

impl From<Address> for SocketAddr {
    fn from(address: Address) -> Self {
        Self::new(Ipv6Addr::from(address.ip).to_canonical(), address.port)
    }
}

/// What a read brought.
#[derive(Debug)]
pub(super) struct Got {
    /// Bytes of frames; `Ok(0)` for the end of the stream.
    pub read: io::Result<usize>,
    /// Bytes arrived from the socket, perhaps less than a TLS record.
    pub arrived: bool,
}

impl Entry {
    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Box::default)
    }

    pub(super) fn joint(&mut self) -> Option<&mut Joint> {
        self.extra.as_mut()?.joint.as_deref_mut()
    }

    pub(super) fn is_joined(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.joint.is_some())
    }

    /// Gives back what it needs no more.
    pub(super) fn rest(&mut self) {
        self.extra.take_if(|extra| !extra.is_needed());
    }

    /// Whether the stream to the peer is still being made.
    pub(super) fn is_connecting(&self) -> bool {
        self.extra.as_ref().and_then(|extra| extra.dial.as_ref()).is_some_and(|dial| !dial.connected)
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.tls.is_some())
    }

    /// Whether bytes wait to be written, because the peer takes no more at present.
    pub(super) fn is_blocked(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| {
            !extra.outgoing.is_empty() || extra.tls.as_ref().is_some_and(|tls| tls.wants_write())
        })
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> Got {
        match self.extra.as_mut().and_then(|extra| extra.tls.as_mut()) {
            None => {
                let read = self.socket.read(into);
                Got { arrived: matches!(read, Ok(1..)), read }
            }
            Some(tls) => {
                let mut arrived = false;
                let read = tls::read(tls, &mut self.socket, into, &mut arrived);
                Got { read, arrived }
            }
        }
    }

    /// Writes frames, and keeps what can't be written at once. `first`: before data that waits. Says whether the socket took
    /// anything.
    ///
    /// # Errors
    /// Of the socket.
    pub(super) fn write(&mut self, frames: &[u8], first: bool, account: &Arc<Account>) -> io::Result<bool> {
        if self.extra.as_ref().is_some_and(|extra| extra.failed.is_some()) {
            return Ok(false);
        }
        let waits = self.is_connecting() || self.is_blocked();
        let written = if waits { 0 } else { self.write_now(frames)? };
        if written < frames.len() {
            let outgoing = &mut self.extra().outgoing;
            if first && written == 0 {
                outgoing.push_first(frames, account);
            } else {
                outgoing.push(frames, account);
                // The queue holds whole frames, so that others can go between them.
                outgoing.wrote(written);
            }
        }
        Ok(written > 0)
    }

    /// Writes what waits. Says whether all of it went, and whether anything did.
    ///
    /// # Errors
    /// Of the socket.
    pub(super) fn flush(&mut self) -> io::Result<(bool, bool)> {
        let mut any = false;
        loop {
            let Some(extra) = &mut self.extra else { return Ok((true, any)) };
            if extra.failed.is_some() {
                return Ok((false, any));
            }
            if let Some(tls) = &mut extra.tls {
                any |= tls.wants_write();
                if !tls::flush(tls, &mut self.socket)? {
                    return Ok((false, any));
                }
            }
            if extra.outgoing.is_empty() {
                return Ok((true, any));
            }
            let mut outgoing = std::mem::take(&mut extra.outgoing);
            let written = self.write_now(outgoing.waiting());
            let count = *written.as_ref().unwrap_or(&0);
            outgoing.wrote(count);
            self.extra().outgoing = outgoing;
            written?;
            any |= count > 0;
            if count == 0 {
                return Ok((false, any));
            }
        }
    }

    /// Writes until the socket takes no more, and says how many bytes went.
    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(tls) = self.extra.as_mut().and_then(|extra| extra.tls.as_mut()) {
            tls.writer().write_all(bytes)?;
            tls::flush(tls, &mut self.socket)?;
            return Ok(bytes.len());
        }
        write_some(&mut self.socket, bytes)
    }
}

/// Writes until `socket` takes no more, and says how many bytes went.
pub(super) fn write_some(mut socket: impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        // The row of the columns comes on top: 36 bytes.
        assert!(size_of::<Option<Entry>>() <= 56 || cfg!(debug_assertions), "{}", size_of::<Option<Entry>>());
    }

    #[test]
    fn addresses_come_back_as_they_were() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[2001:db8::7]:1", "255.255.255.255:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Address::from(address)), address);
        }
    }
}
