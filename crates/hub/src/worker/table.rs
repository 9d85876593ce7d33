//! All sessions of a loop, in arrays.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use deadpeer_core::protocol::Dialogue;
use deadpeer_core::{Instant, Roster};
use mio::net::TcpStream;
use rustls::Connection;

use super::buffer::Buffer;
use super::joint::Joint;
use crate::clock::millis;
use crate::shared::Account;
use crate::tls;

/// One session. While it only beats, this is all there is of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub socket: TcpStream,
    pub dialogue: Dialogue,
    /// Its end was told.
    pub told: bool,
    /// Milliseconds from one of our beats to the next, at most.
    pub interval: u32,
    /// Microseconds; 0 for not measured.
    pub rtt: u32,
    /// When it came up, or was accepted; seconds.
    pub since: u32,
    pub address: Address,
    pub id: CompactString,
    pub extra: Option<Box<Extra>>,
}

/// What a session needs that carries data, is encrypted, or has said half a frame.
#[derive(Debug, Default)]
pub(super) struct Extra {
    pub tls: Option<Box<Connection>>,
    /// The beginning of a frame: 77 bytes at most, messages are handed on in pieces.
    pub incoming: Vec<u8>,
    pub outgoing: Buffer,
    /// A PING that is to be answered once something can be written again.
    pub answer: Option<u32>,
    pub joint: Option<Box<Joint>>,
    /// The connection is still being made: the addresses, and which is tried.
    pub dial: Option<(Arc<[SocketAddr]>, usize)>,
}

impl Extra {
    fn is_needed(&self) -> bool {
        self.tls.is_some()
            || self.joint.is_some()
            || self.dial.is_some()
            || self.answer.is_some()
            || !self.incoming.is_empty()
            || !self.outgoing.is_empty()
    }
}

/// An address in 18 bytes, where [`SocketAddr`] takes 32. It is kept because a connection that was reset has
/// none any more (getpeername(2): ENOTCONN).
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

impl Entry {
    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Box::default)
    }

    pub(super) fn joint(&mut self) -> Option<&mut Joint> {
        self.extra.as_mut()?.joint.as_deref_mut()
    }

    /// Gives back what it needs no more.
    pub(super) fn rest(&mut self) {
        self.extra.take_if(|extra| !extra.is_needed());
    }

    /// Whether bytes wait to be written, because the peer takes no more at present.
    pub(super) fn is_blocked(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| {
            !extra.outgoing.is_empty() || extra.tls.as_ref().is_some_and(|tls| tls.wants_write())
        })
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.extra.as_mut().and_then(|extra| extra.tls.as_mut()) {
            None => self.socket.read(into),
            Some(tls) => tls::read(tls, &mut self.socket, into),
        }
    }

    /// Writes, and keeps what can't be written at once.
    pub(super) fn write(&mut self, bytes: &[u8], account: &Arc<Account>) -> io::Result<()> {
        let dialing = self.extra.as_ref().is_some_and(|extra| extra.dial.is_some());
        let written = if dialing || self.is_blocked() { 0 } else { self.write_now(bytes)? };
        if written < bytes.len() {
            self.extra().outgoing.push(&bytes[written..], account);
        }
        Ok(())
    }

    /// Writes what waits. Says whether all of it went.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        loop {
            let Some(extra) = &mut self.extra else { return Ok(true) };
            if let Some(tls) = &mut extra.tls
                && !tls::flush(tls, &mut self.socket)?
            {
                return Ok(false);
            }
            if extra.outgoing.is_empty() {
                return Ok(true);
            }
            let mut outgoing = std::mem::take(&mut extra.outgoing);
            let written = self.write_now(outgoing.waiting());
            outgoing.wrote(*written.as_ref().unwrap_or(&0));
            self.extra().outgoing = outgoing;
            if written? == 0 {
                return Ok(false);
            }
        }
    }

    /// Writes until the socket takes no more; so many bytes went.
    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(tls) = self.extra.as_mut().and_then(|extra| extra.tls.as_mut()) {
            tls.writer().write_all(bytes)?;
            tls::flush(tls, &mut self.socket)?;
            return Ok(bytes.len());
        }
        write_some(&mut self.socket, bytes)
    }
}

/// Writes until `socket` takes no more; so many bytes went.
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

/// The sessions of a loop: place `n` of each array is session `n`.
#[derive(Debug)]
pub(super) struct Table {
    pub roster: Roster,
    entries: Vec<Option<Entry>>,
    /// When each of our beats is due, in wrapping milliseconds; an array of its own, because it is swept.
    due: Vec<u32>,
}

/// Who owes no beat is asked again after this, milliseconds.
const LATER: u32 = 3_600_000;

impl Table {
    pub(super) fn new(tick: Duration) -> Self {
        Self { roster: Roster::with_tick(tick), entries: Vec::new(), due: Vec::new() }
    }

    /// Adds a session that is lost unless heard of within `patience`.
    pub(super) fn insert(&mut self, entry: Entry, patience: Duration, now: Instant) -> usize {
        let index = self.roster.insert(patience, now).index();
        if index == self.entries.len() {
            self.entries.push(None);
            self.due.push(0);
        }
        self.entries[index] = Some(entry);
        self.due[index] = millis(now).wrapping_add(LATER);
        index
    }

    pub(super) fn get(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index)?.as_mut()
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<Entry> {
        let entry = self.entries.get_mut(index)?.take();
        if let Some(slot) = self.roster.slot(index) {
            self.roster.remove(slot);
        }
        entry
    }

    /// The peer gave a sign of life.
    pub(super) fn seen(&mut self, index: usize, now: Instant) {
        if let Some(slot) = self.roster.slot(index) {
            self.roster.seen(slot, now);
        }
    }

    /// The peer may be silent for `patience` from now on.
    pub(super) fn tolerate(&mut self, index: usize, patience: Duration, now: Instant) {
        if let Some(slot) = self.roster.slot(index) {
            self.roster.tolerate(slot, patience);
            self.roster.seen(slot, now);
        }
    }

    /// Our next beat is due after `wait`.
    pub(super) fn beat_in(&mut self, index: usize, wait: Duration, now: Instant) {
        if let Some(due) = self.due.get_mut(index) {
            *due = millis(now).wrapping_add(wait.as_millis() as u32);
        }
    }

    /// Those whose beat is due now. They owe none until [`Table::beat_in`].
    pub(super) fn due(&mut self, now: Instant, owing: &mut Vec<usize>) {
        let now = millis(now);
        for (index, due) in self.due.iter_mut().enumerate() {
            if now.wrapping_sub(*due).cast_signed() >= 0 {
                *due = now.wrapping_add(LATER);
                owing.push(index);
            }
        }
    }

    /// Those who were silent for too long. They are watched no more, and still to be removed.
    pub(super) fn lost(&mut self, now: Instant, lost: &mut Vec<(usize, Duration)>) {
        self.roster.sweep(now, |slot, silent| lost.push((slot.index(), silent)));
    }

    pub(super) fn silent(&self, index: usize, now: Instant) -> Duration {
        self.roster.slot(index).and_then(|slot| self.roster.silent(slot, now)).unwrap_or_default()
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = usize> + use<> {
        0..self.entries.len()
    }

    pub(super) fn len(&self) -> usize {
        self.roster.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        // The roster's 12 bytes and the due time come on top.
        assert!(size_of::<Option<Entry>>() <= 72 || cfg!(debug_assertions), "{}", size_of::<Option<Entry>>());
    }

    #[test]
    fn addresses_come_back_as_they_were() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[2001:db8::7]:1", "255.255.255.255:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Address::from(address)), address);
        }
    }
}
