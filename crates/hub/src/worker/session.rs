//! How a session begins.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use deadpeer_core::Instant;
use deadpeer_core::protocol::{Bye, Dialogue, Frame, Hello, Reason};
use mio::net::TcpStream;
use socket2::SockRef;

use super::joint::{Joint, dial, made, protect, reset_on_close};
use super::table::{Entry, Extra};
use super::{Role, Side, Worker, watch};
use crate::clock::seconds;
use crate::event::{Event, Refusal};
use crate::tls::{ClientTls, ServerTls};

impl Worker {
    /// Takes over a connection that was accepted.
    pub(super) fn accepted(
        &mut self,
        socket: TcpStream,
        address: SocketAddr,
        places: Arc<[SocketAddr]>,
        now: Instant,
    ) {
        // Only latency is lost where it can't be set.
        let _ = socket.set_nodelay(true);
        let mut extra = Extra::default();
        let socket = match &self.role {
            Role::Server { joined, .. } => {
                extra.joint = joined.then(|| Box::new(Joint::to(places)));
                socket
            }
            Role::Gateway { .. } => match self.dial_from(&places, 0, String::from("no address")) {
                Ok((session, at)) => {
                    extra.dial = Some((places, at));
                    extra.joint = Some(Box::new(Joint::with(socket)));
                    session
                }
                Err(error) => {
                    reset_on_close(&socket);
                    return self.shared.turn_away(address, Refusal::Unreachable(error));
                }
            },
        };
        self.open(socket, address, extra, now);
    }

    /// Opens a session that carries nothing.
    pub(super) fn dialed(&mut self, places: &Arc<[SocketAddr]>, now: Instant) {
        let (address, dialed) = match self.dial_from(places, 0, String::from("no address")) {
            Ok((socket, at)) => (places[at], Ok((socket, at))),
            Err(error) => (places.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into()), Err(error)),
        };
        if let Err(why) = self.shared.admit(address.ip()) {
            return self.shared.tell(Event::Refused { address, why });
        }
        match dialed {
            Err(error) => self.shared.turn_away(address, Refusal::Unreachable(error)),
            Ok((socket, at)) => {
                let extra = Extra { dial: Some((Arc::clone(places), at)), ..Extra::default() };
                self.open(socket, address, extra, now);
            }
        }
    }

    /// Greets.
    fn open(&mut self, socket: TcpStream, address: SocketAddr, mut extra: Extra, now: Instant) {
        let tls = match &self.role {
            Role::Server { tls, .. } => tls.as_ref().map(ServerTls::connection),
            Role::Gateway { tls } => tls.as_ref().map(ClientTls::connection),
        };
        extra.tls = match tls.transpose() {
            Ok(tls) => tls.map(Box::new),
            Err(error) => return self.shared.turn_away(address, Refusal::Tls(error.to_string())),
        };
        let entry = Entry {
            socket,
            dialogue: Dialogue::new(),
            told: false,
            interval: 0,
            rtt: 0,
            since: seconds(now),
            address: address.into(),
            id: CompactString::default(),
            extra: Some(Box::new(extra)),
        };
        let index = self.table.insert(entry, self.shared.config.limits.greeting, now);
        if let Err(error) = self.watch_both(index) {
            return self.refuse(index, Refusal::Unreachable(format!("watching it: {error}")));
        }
        let shared = Arc::clone(&self.shared);
        let mut hello = Vec::new();
        Frame::Hello(Hello { offer: shared.config.offer, id: &shared.config.id }).encode(&mut hello);
        self.send(index, &hello, now);
        // Its HELLO may be here already.
        self.readable(index, Side::Session, true, now);
        if self.stopping {
            self.leave(index, Bye { reason: Reason::Restarting, back_in: Duration::ZERO }, now);
        }
    }

    fn watch_both(&mut self, index: usize) -> io::Result<()> {
        let Some(entry) = self.table.get(index) else { return Ok(()) };
        watch(self.poll.registry(), &mut entry.socket, index, Side::Session)?;
        if let Some(joint) = entry.joint() {
            self.joined.insert(index);
            if let Some(plain) = &mut joint.plain {
                watch(self.poll.registry(), plain, index, Side::Plain)?;
            }
        }
        Ok(())
    }

    /// Begins a connection to the first of `places`, from place `from` on, that one can be begun to.
    pub(super) fn dial_from(
        &self,
        places: &Arc<[SocketAddr]>,
        from: usize,
        before: String,
    ) -> Result<(TcpStream, usize), String> {
        let mut failed = before;
        for (at, address) in places.iter().enumerate().skip(from) {
            match dial(*address, self.shared.config.settings.as_ref()) {
                Ok(stream) => return Ok((stream, at)),
                Err(error) => failed = format!("connecting to {address}: {error}"),
            }
        }
        Err(failed)
    }

    /// The session's socket takes more.
    pub(super) fn session_writable(&mut self, index: usize, now: Instant) {
        let Some(entry) = self.table.get(index) else { return };
        if entry.extra.as_ref().is_some_and(|extra| extra.dial.is_some()) && !self.session_made(index) {
            return;
        }
        let Some(entry) = self.table.get(index) else { return };
        if entry.extra.is_none() {
            return;
        }
        match entry.flush() {
            Err(error) => return self.failed(index, error, now),
            Ok(false) => return,
            Ok(true) => {}
        }
        if entry.dialogue.is_over() {
            return self.close(index, now);
        }
        if let Some(token) = entry.extra.as_mut().and_then(|extra| extra.answer.take()) {
            self.answer(index, token, now);
        }
        self.finish(index, now);
        if let Some(entry) = self.table.get(index) {
            entry.rest();
            if entry.joint().is_some_and(|joint| std::mem::take(&mut joint.plain_waits)) {
                self.readable(index, Side::Plain, true, now);
            }
        }
    }

    /// Whether a session that was being connected is; another address is tried if not.
    fn session_made(&mut self, index: usize) -> bool {
        let Some(entry) = self.table.get(index) else { return false };
        let Some((places, at)) = entry.extra.as_mut().and_then(|extra| extra.dial.clone()) else {
            return true;
        };
        let error = match made(&entry.socket) {
            None => return false,
            Some(Ok(())) => {
                entry.extra().dial = None;
                return true;
            }
            Some(Err(error)) => error,
        };
        let failed = format!(
            "connecting to {}: {error}",
            places.get(at).map_or_else(String::new, ToString::to_string)
        );
        let next = self.dial_from(&places, at + 1, failed).and_then(|(mut socket, at)| {
            let watched = watch(self.poll.registry(), &mut socket, index, Side::Session);
            watched.map(|()| (socket, at)).map_err(|error| error.to_string())
        });
        match next {
            Ok((socket, at)) => {
                if let Some(entry) = self.table.get(index) {
                    entry.socket = socket;
                    if entry.joint().is_none() {
                        entry.address = places[at].into();
                    }
                    entry.extra().dial = Some((places, at));
                }
            }
            Err(error) => self.refuse(index, Refusal::Unreachable(error)),
        }
        false
    }

    /// The kernel watches a session that is not read, because the plain side takes nothing.
    pub(super) fn protect_session(&mut self, index: usize) {
        let shared = Arc::clone(&self.shared);
        if let (Some(settings), Some(entry)) = (&shared.config.settings, self.table.get(index)) {
            protect(&SockRef::from(&entry.socket), settings);
        }
    }
}
