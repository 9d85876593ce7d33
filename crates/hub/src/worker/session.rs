//! What a session says, and what is said to it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use deadpeer::{Loss, Mechanism, PeerLost};
use deadpeer_core::protocol::{Bye, Dialogue, Frame, Hello, Malformed, Reason};
use deadpeer_core::{Instant, Roster};
use mio::net::TcpStream;
use socket2::SockRef;

use super::joint::{Joint, dial, made, protect, reset_on_close};
use super::speech::Halt;
use super::table::{Entry, Extra};
use super::{FAREWELL, Role, Side, Worker, watch};
use crate::clock::seconds;
use crate::event::{Ending, Event, Refusal, Who};
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
                    return self.refuse_address(address, Refusal::Unreachable(error));
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
            Err(error) => self.refuse_address(address, Refusal::Unreachable(error)),
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
            Err(error) => return self.refuse_address(address, Refusal::Tls(error.to_string())),
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
        self.session_readable(index, true, now);
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
                self.plain_readable(index, true, now);
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

    /// Says what is said at the end of the data of either side, and goodbye after that of both.
    pub(super) fn finish(&mut self, index: usize, now: Instant) {
        let Some(entry) = self.table.get(index) else { return };
        let said_all =
            entry.dialogue.has_ended() && entry.dialogue.peer_has_ended() && entry.dialogue.is_up();
        if said_all && entry.joint().is_some_and(|joint| !joint.is_full()) {
            let bye = Bye { reason: Reason::Done, back_in: Duration::ZERO };
            self.ended(index, Ending::Left(bye), now);
            self.leave(index, bye, now);
        }
    }

    /// Says goodbye; the peer's is waited for a moment.
    pub(super) fn leave(&mut self, index: usize, bye: Bye, now: Instant) {
        let Some(entry) = self.table.get(index) else { return };
        let greeting = entry.dialogue.is_greeting();
        if !entry.dialogue.leave() {
            return self.close(index, now);
        }
        entry.told |= self.stopping;
        self.say(index, &Frame::Bye(bye), now);
        self.table.tolerate(index, FAREWELL, now);
        let over = self.table.get(index).is_some_and(|entry| entry.dialogue.is_over() && !entry.is_blocked());
        // Who has not greeted is owed no wait.
        if over || greeting {
            self.close(index, now);
        }
    }

    /// Closes, after the plain side has taken what it is still to have.
    fn close(&mut self, index: usize, now: Instant) {
        match self.table.get(index).and_then(|entry| entry.joint()) {
            Some(joint) if joint.is_whole() && joint.is_full() => {
                joint.draining = true;
                self.table.tolerate(index, Roster::LONGEST, now);
            }
            _ => self.drop_quietly(index),
        }
    }

    /// The peer said goodbye.
    pub(super) fn parted(&mut self, index: usize, bye: Bye, now: Instant) {
        let Some(entry) = self.table.get(index) else { return };
        if entry.dialogue.is_greeting() {
            return self.refuse(index, Refusal::Bye(bye));
        }
        self.ended(index, Ending::Left(bye), now);
        self.leave(index, Bye { reason: Reason::Done, back_in: Duration::ZERO }, now);
    }

    /// The stream ended.
    pub(super) fn closed(&mut self, index: usize, now: Instant) {
        let Some(entry) = self.table.get(index) else { return };
        if entry.dialogue.is_greeting() {
            return self.refuse(index, Refusal::Closed);
        }
        self.lost(index, PeerLost::new(Loss::Closed, Mechanism::EndOfFile), now);
    }

    /// A read or a write failed.
    pub(super) fn failed(&mut self, index: usize, error: io::Error, now: Instant) {
        let Some(entry) = self.table.get(index) else { return };
        let error = PeerLost::explain(&entry.socket, error);
        let greeting = entry.dialogue.is_greeting();
        match PeerLost::of(&error) {
            _ if greeting && error.kind() == io::ErrorKind::InvalidData => {
                self.refuse(index, Refusal::Tls(error.to_string()));
            }
            Some(_) if greeting => self.refuse(index, Refusal::Unreachable(error.to_string())),
            Some(lost) => self.lost(index, lost.clone(), now),
            None if greeting => self.refuse(index, Refusal::Closed),
            None => {
                self.ended(index, Ending::Broke(error.to_string()), now);
                self.drop_quietly(index);
            }
        }
    }

    /// Nothing was heard for too long.
    pub(super) fn fell_silent(&mut self, index: usize, silent: Duration, now: Instant) {
        let Some(entry) = self.table.get(index) else { return };
        if entry.dialogue.is_greeting() {
            let patience = self.shared.config.limits.greeting;
            return self.refuse(index, Refusal::Silent { patience });
        }
        if !entry.dialogue.is_up() {
            return self.drop_quietly(index);
        }
        let lost = PeerLost::missed(&entry.socket, silent);
        self.lost(index, lost, now);
    }

    pub(super) fn lost(&mut self, index: usize, lost: PeerLost, now: Instant) {
        self.ended(index, Ending::Died(lost), now);
        self.drop_quietly(index);
    }

    pub(super) fn halt(&mut self, index: usize, halt: Halt, now: Instant) {
        let (reason, quiet) = match halt {
            Halt::Refused(refusal, reason) => {
                // To somebody who speaks another protocol nothing is said.
                let quiet = refusal == Refusal::Malformed(Malformed::NotHello);
                if let Some(entry) = self.table.get(index) {
                    let address = entry.address.into();
                    entry.told = true;
                    self.shared.tell(Event::Refused { address, why: refusal });
                }
                (reason, quiet)
            }
            Halt::Broke(what, reason) => {
                self.ended(index, Ending::Broke(what), now);
                (reason, false)
            }
        };
        if !quiet {
            self.leave(index, Bye { reason, back_in: Duration::ZERO }, now);
        }
        self.drop_quietly(index);
    }

    /// Tells why a session ended, once.
    pub(super) fn ended(&mut self, index: usize, why: Ending, now: Instant) {
        let Some(entry) = self.table.get(index) else { return };
        if !std::mem::replace(&mut entry.told, true) {
            let up = Duration::from_secs(seconds(now).saturating_sub(entry.since).into());
            let who = who(entry);
            self.shared.tell(Event::Ended { who, why, up });
        }
    }

    /// A connection that never became a session.
    fn refuse(&mut self, index: usize, why: Refusal) {
        if let Some(entry) = self.table.get(index)
            && !std::mem::replace(&mut entry.told, true)
        {
            let address = entry.address.into();
            self.shared.tell(Event::Refused { address, why });
        }
        self.drop_quietly(index);
    }

    fn refuse_address(&self, address: SocketAddr, why: Refusal) {
        self.shared.release(address.ip());
        self.shared.tell(Event::Refused { address, why });
    }

    /// Closes. Whatever was still on the way to the plain side is known not to be all.
    pub(super) fn drop_quietly(&mut self, index: usize) {
        let Some(mut entry) = self.table.remove(index) else { return };
        self.joined.remove(&index);
        self.shared.release(SocketAddr::from(entry.address).ip());
        if let Some(joint) = entry.joint()
            && (!joint.is_whole() || joint.is_full())
        {
            joint.abort();
        }
        if entry.dialogue.is_up() {
            // The peer is gone: nothing of it is to stay in the kernel.
            reset_on_close(&entry.socket);
        }
    }

    /// The kernel watches a session that is not read, because the plain side takes nothing.
    pub(super) fn protect_session(&mut self, index: usize) {
        let shared = Arc::clone(&self.shared);
        if let (Some(settings), Some(entry)) = (&shared.config.settings, self.table.get(index)) {
            protect(&SockRef::from(&entry.socket), settings);
        }
    }
}

pub(super) fn who(entry: &Entry) -> Who {
    Who { id: entry.id.to_string(), address: entry.address.into() }
}
