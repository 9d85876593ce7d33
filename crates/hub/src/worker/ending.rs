//! How a session ends: by a goodbye, a loss, a refusal; once, and with its cause.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use deadpeer::{Loss, Mechanism, PeerLost};
use deadpeer_core::protocol::{Bye, Frame, Malformed, Reason};
use deadpeer_core::{Instant, Roster, Set};

use super::joint::reset_on_close;
use super::speech::Halt;
use super::table::Entry;
use super::{FAREWELL, Worker};
use crate::clock::seconds;
use crate::event::{Ending, Event, Refusal, Who};

impl Worker {
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
    pub(super) fn close(&mut self, index: usize, now: Instant) {
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
            // The connection was there: a close with our HELLO unread is a reset.
            Some(lost) if greeting && matches!(lost.cause, Loss::Reset | Loss::Closed) => {
                self.refuse(index, Refusal::Closed)
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
    pub(super) fn refuse(&mut self, index: usize, why: Refusal) {
        if let Some(entry) = self.table.get(index)
            && !std::mem::replace(&mut entry.told, true)
        {
            let address = entry.address.into();
            self.shared.tell(Event::Refused { address, why });
        }
        self.drop_quietly(index);
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
        if self.shared.config.settings.is_some_and(|settings| matches!(settings.rto_max, Set::To(_))) {
            // What was written is to arrive after the close, too. What can't be set can't be helped any more.
            let plain = entry.joint().and_then(|joint| joint.plain.as_ref()).map(deadpeer::before_close);
            let _ = (deadpeer::before_close(&entry.socket), plain);
        }
    }
}

pub(super) fn who(entry: &Entry) -> Who {
    Who { id: entry.id.to_string(), address: entry.address.into() }
}
