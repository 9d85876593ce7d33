//! The plain side of a joined session.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpeer::PeerLost;
use deadpeer_core::Instant;
use deadpeer_core::protocol::{Bye, DATA_HEADER, Frame, Reason};

use super::joint::made;
use super::{SHORT_IS_ALL, Side, Worker, watch};
use crate::event::Ending;

impl Worker {
    /// The session is up: now there is somebody to carry data for.
    pub(super) fn came_up(&mut self, index: usize, now: Instant) {
        self.protect_session(index);
        let Some(joint) = self.table.get(index).and_then(|entry| entry.joint()) else { return };
        if std::mem::take(&mut joint.plain_waits) {
            self.again.push((index, Side::Plain));
        } else if joint.plain.is_none() {
            self.dial_plain(index, 0, String::from("no address"), now);
        }
    }

    fn dial_plain(&mut self, index: usize, from: usize, before: String, now: Instant) {
        let Some(joint) = self.table.get(index).and_then(|entry| entry.joint()) else { return };
        let Some((places, _)) = joint.dial.clone() else { return };
        let dialed = self.dial_from(&places, from, before).and_then(|(mut socket, at)| {
            let watched = watch(self.poll.registry(), &mut socket, index, Side::Plain);
            watched.map(|()| (socket, at)).map_err(|error| format!("connecting to {}: {error}", places[at]))
        });
        match dialed {
            Err(error) => self.plain_lost(index, error, now),
            Ok((socket, at)) => {
                if let Some(joint) = self.table.get(index).and_then(|entry| entry.joint()) {
                    joint.plain = Some(socket);
                    joint.dial = Some((places, at));
                }
            }
        }
    }

    /// The plain socket takes more, or its connection was made, or could not be.
    pub(super) fn plain_writable(&mut self, index: usize, now: Instant) {
        let Some(joint) = self.table.get(index).and_then(|entry| entry.joint()) else { return };
        if let Some((places, at)) = joint.dial.clone() {
            let Some(plain) = &joint.plain else { return };
            match made(plain) {
                None => return,
                Some(Ok(())) => joint.dial = None,
                Some(Err(error)) => {
                    joint.plain = None;
                    let failed = format!("connecting to {}: {error}", places[at]);
                    return self.dial_plain(index, at + 1, failed, now);
                }
            }
        }
        self.flush_plain(index, now);
    }

    /// Writes what waits for the plain side; when all went, the session is read again.
    pub(super) fn flush_plain(&mut self, index: usize, now: Instant) {
        let Some(joint) = self.table.get(index).and_then(|entry| entry.joint()) else { return };
        match joint.flush() {
            Err(error) => return self.plain_failed(index, error, now),
            Ok(false) => return,
            Ok(true) => {}
        }
        if joint.draining {
            return self.drop_quietly(index);
        }
        if std::mem::take(&mut joint.session_waits) {
            self.table.seen(index, now);
            self.again.push((index, Side::Session));
        }
        self.finish(index, now);
    }

    /// Data came from the session.
    pub(super) fn hand_on(&mut self, index: usize, bytes: &[u8], data: &[Range<usize>], now: Instant) {
        let shared = Arc::clone(&self.shared);
        let Some(joint) = self.table.get(index).and_then(|entry| entry.joint()) else { return };
        let mut handed = 0;
        for piece in data {
            handed += piece.len() as u64;
            if let Err(error) = joint.deliver(&bytes[piece.clone()], &shared.account) {
                return self.plain_failed(index, error, now);
            }
        }
        shared.to_plain.fetch_add(handed, Relaxed);
    }

    /// One read. Says whether there may be more.
    pub(super) fn read_plain(
        &mut self,
        index: usize,
        to_the_end: bool,
        scratch: &mut [u8],
        now: Instant,
    ) -> bool {
        let over_budget = self.shared.is_over_budget();
        let Some(entry) = self.table.get(index) else { return false };
        let takes_none = !entry.dialogue.is_up() || entry.is_blocked() || over_budget;
        let Some(joint) = entry.joint() else { return false };
        if joint.plain_ended || joint.dial.is_some() {
            return false;
        }
        if takes_none {
            joint.plain_waits = true;
            return false;
        }
        let Some(plain) = &mut joint.plain else { return false };
        let read = match plain.read(&mut scratch[DATA_HEADER..]) {
            Ok(0) => {
                joint.plain_ended = true;
                if entry.dialogue.end() {
                    self.say(index, &Frame::End, now);
                    self.finish(index, now);
                }
                return false;
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) => {
                self.plain_failed(index, error, now);
                return false;
            }
        };
        scratch[..DATA_HEADER].copy_from_slice(&Frame::data_head(read as u32));
        self.shared.from_plain.fetch_add(read as u64, Relaxed);
        self.send(index, &scratch[..DATA_HEADER + read], now);
        read == scratch.len() - DATA_HEADER || to_the_end || !SHORT_IS_ALL
    }

    /// At each tick: whoever waits for the budget may go on, and silence is not held against those that are not
    /// read.
    pub(super) fn attend(&mut self, index: usize, now: Instant) {
        let within_budget = self.shared.account.held() < self.shared.config.limits.buffered;
        let Some(joint) = self.table.get(index).and_then(|entry| entry.joint()) else { return };
        if joint.session_waits {
            if joint.is_full() || !within_budget {
                self.table.seen(index, now);
            } else {
                joint.session_waits = false;
                self.table.seen(index, now);
                self.again.push((index, Side::Session));
            }
        }
        let Some(entry) = self.table.get(index).filter(|entry| entry.dialogue.is_up()) else { return };
        let blocked = entry.is_blocked();
        let Some(joint) = entry.joint() else { return };
        if joint.plain_waits && within_budget && !blocked {
            joint.plain_waits = false;
            self.again.push((index, Side::Plain));
        }
    }

    /// Where heartbeats tell nothing, the kernel is asked whether the other one answers: of the plain side, and of a
    /// session that is not read. (A user timeout would do that, too, and end whoever only takes nothing.)
    pub(super) fn look(&mut self, index: usize, now: Instant) {
        // What was sent just after the last look, found at the next.
        let late = self.look_every * 2;
        let patience = self.shared.config.offer.at_most.saturating_sub(late).max(late);
        let Some(entry) = self.table.get(index) else { return };
        let interval = Duration::from_millis(entry.interval.into());
        let Some(joint) = entry.joint() else { return };
        let waits = joint.session_waits;
        if let Some(lost) = joint.plain.as_ref().and_then(|plain| PeerLost::unanswered(plain, patience)) {
            return self.plain_lost(index, format!("the plain side: {lost}"), now);
        }
        // Our beats are what it does not answer; the next one may have been due just when it died.
        let patience = patience.saturating_sub(interval).max(late);
        if waits && let Some(lost) = PeerLost::unanswered(&entry.socket, patience) {
            self.lost(index, lost, now);
        }
    }

    fn plain_failed(&mut self, index: usize, error: io::Error, now: Instant) {
        let Some(joint) = self.table.get(index).and_then(|entry| entry.joint()) else { return };
        let error = match &joint.plain {
            Some(plain) => PeerLost::explain(plain, error),
            None => error,
        };
        self.plain_lost(index, format!("the plain side: {error}"), now);
    }

    /// The plain connection is lost, or could not be made: the other end of the session is to know.
    fn plain_lost(&mut self, index: usize, what: String, now: Instant) {
        let Some(entry) = self.table.get(index) else { return };
        let Some(joint) = entry.joint() else { return };
        let draining = joint.draining;
        joint.abort();
        self.ended(index, Ending::PlainLost(what), now);
        if draining {
            return self.drop_quietly(index);
        }
        self.leave(index, Bye { reason: Reason::Lost, back_in: Duration::ZERO }, now);
    }
}
