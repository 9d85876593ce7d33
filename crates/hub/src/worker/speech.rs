//! What is read from a session, and what is written to it.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use deadpeer_core::protocol::{Bye, Frame, Head, Hello, LIMIT, Malformed, Reason};
use deadpeer_core::{Instant, Timing};

use super::ending::who;
use super::{GATHER, Role, SHORT_IS_ALL, Worker};
use crate::clock::{micros, seconds};
use crate::event::{Event, Refusal};
use crate::tls::certified;

/// What one read brought, besides data.
#[derive(Debug, Default)]
struct Heard {
    /// The PING to answer: of several, the last.
    ping: Option<u32>,
    /// The peer sends no more data.
    end: bool,
    bye: Option<Bye>,
    /// Where data stands in what was read.
    data: Vec<Range<usize>>,
}

/// Why a session can't go on.
pub(super) enum Halt {
    Refused(Refusal, Reason),
    Broke(String, Reason),
}

impl From<Malformed> for Halt {
    fn from(malformed: Malformed) -> Self {
        Self::Broke(malformed.to_string(), Reason::Malformed)
    }
}

impl Worker {
    /// One read. Says whether there may be more.
    pub(super) fn read_session(
        &mut self,
        index: usize,
        to_the_end: bool,
        scratch: &mut [u8],
        now: Instant,
    ) -> bool {
        let over_budget = self.shared.is_over_budget();
        let Some(entry) = self.table.get(index) else { return false };
        if entry.extra.as_ref().is_some_and(|extra| extra.dial.is_some()) {
            return false;
        }
        if let Some(joint) = entry.joint()
            && (joint.is_full() || over_budget)
        {
            joint.session_waits = true;
            return false;
        }
        let read = match entry.read(scratch) {
            Ok(0) => {
                self.closed(index, now);
                return false;
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) => {
                self.failed(index, error, now);
                return false;
            }
        };
        let encrypted = entry.extra.as_ref().is_some_and(|extra| extra.tls.is_some());
        self.table.seen(index, now);
        match self.take(index, &scratch[..read], now) {
            Ok(heard) => self.act(index, heard, now),
            Err(halt) => self.halt(index, halt, now),
        }
        // What is over is not read any further.
        let here = self.table.get(index).is_some_and(|entry| !entry.dialogue.is_over());
        here && (read == scratch.len() || to_the_end || encrypted || !SHORT_IS_ALL)
    }

    /// Takes the frames that arrived; data is handed on.
    fn take(&mut self, index: usize, read: &[u8], now: Instant) -> Result<Heard, Halt> {
        let Some(entry) = self.table.get(index) else { return Ok(Heard::default()) };
        let begun = match &mut entry.extra {
            Some(extra) if !extra.incoming.is_empty() => {
                extra.incoming.extend_from_slice(read);
                Some(std::mem::take(&mut extra.incoming))
            }
            _ => None,
        };
        let bytes = begun.as_deref().unwrap_or(read);
        let mut heard = Heard::default();
        let taken = self.frames(index, bytes, &mut heard, now)?;
        if let Some(entry) = self.table.get(index) {
            if taken < bytes.len() {
                entry.extra().incoming = bytes[taken..].to_vec();
            } else {
                entry.rest();
            }
        }
        if !heard.data.is_empty() {
            self.hand_on(index, bytes, &heard.data, now);
        }
        Ok(heard)
    }

    /// Says how many bytes it took; the rest is the beginning of a frame.
    fn frames(&mut self, index: usize, bytes: &[u8], heard: &mut Heard, now: Instant) -> Result<usize, Halt> {
        let mut taken = 0;
        while taken < bytes.len() && heard.bye.is_none() {
            let Some(entry) = self.table.get(index) else { break };
            if let Some(joint) = entry.joint()
                && joint.rest != 0
            {
                let length = (bytes.len() - taken).min(joint.rest as usize);
                joint.rest -= length as u32;
                heard.data.push(taken..taken + length);
                taken += length;
                continue;
            }
            let greeting = entry.dialogue.is_greeting();
            let malformed = |malformed: Malformed| match greeting {
                true => Halt::Refused(Refusal::Malformed(malformed), Reason::Malformed),
                false => malformed.into(),
            };
            entry.dialogue.expect(bytes[taken]).map_err(malformed)?;
            let Some((head, length)) = Frame::decode_head(&bytes[taken..], LIMIT).map_err(malformed)? else {
                break;
            };
            taken += length;
            let frame = match head {
                Head::Message { length } => {
                    entry.dialogue.admit(&Frame::Data(b"")).map_err(malformed)?;
                    match entry.joint() {
                        Some(joint) => joint.rest = length,
                        None => {
                            let what = "it sent data, and there is no place to forward that to";
                            return Err(Halt::Broke(what.to_owned(), Reason::Refused));
                        }
                    }
                    continue;
                }
                Head::Frame(frame) => frame,
            };
            entry.dialogue.admit(&frame).map_err(malformed)?;
            match frame {
                Frame::Hello(hello) => self.greeted(index, &hello, now)?,
                Frame::Ping { token } => heard.ping = Some(token),
                Frame::Pong { token } => {
                    // The token is the time of the PING. What a peer makes up instead is its own loss.
                    let rtt = micros(now).wrapping_sub(token);
                    entry.rtt = if rtt < 60_000_000 { rtt.max(1) } else { entry.rtt };
                }
                Frame::End => {
                    heard.end = true;
                    if let Some(joint) = entry.joint() {
                        joint.session_ended = true;
                    }
                }
                Frame::Bye(bye) => heard.bye = Some(bye),
                _ => {}
            }
        }
        Ok(taken)
    }

    fn greeted(&mut self, index: usize, hello: &Hello<'_>, now: Instant) -> Result<(), Halt> {
        let shared = Arc::clone(&self.shared);
        let timing = shared
            .config
            .offer
            .agree(&hello.offer)
            .map_err(|error| Halt::Refused(Refusal::TooSlow(error), Reason::TooSlow))?;
        let server = matches!(self.role, Role::Server { .. });
        let Some(entry) = self.table.get(index) else { return Ok(()) };
        let tls = entry.extra.as_ref().and_then(|extra| extra.tls.as_deref());
        entry.id = match tls.and_then(certified).filter(|_| server) {
            None => hello.id.into(),
            Some(certified) if hello.id.is_empty() && !certified.is_empty() => certified[0].as_str().into(),
            Some(certified) if certified.iter().any(|name| name == hello.id) => hello.id.into(),
            Some(certified) => {
                let refusal = Refusal::WrongName { said: hello.id.to_owned(), certified };
                return Err(Halt::Refused(refusal, Reason::Refused));
            }
        };
        entry.dialogue.agree();
        entry.interval = timing.interval().as_millis() as u32;
        entry.since = seconds(now);
        let who = who(entry);
        self.table.tolerate(index, timing.tolerance(), now);
        // The first beat measures the round trip, so it comes soon.
        let latest = Duration::from_secs(1).min(self.wait(timing.interval()));
        let soon = self.random.between(Duration::ZERO, latest);
        self.table.beat_in(index, soon, now);
        self.shared.tell(Event::Arrived { who, timing });
        self.came_up(index, now);
        Ok(())
    }

    /// From one beat to the next: early by what the loop may be late.
    fn wait(&mut self, interval: Duration) -> Duration {
        let late = self.tick + GATHER.min(self.tick);
        let wait = Timing::new(interval, interval).map_or(interval, |timing| timing.next(&mut self.random));
        wait.saturating_sub(late)
    }

    /// Does what the frames ask for.
    fn act(&mut self, index: usize, heard: Heard, now: Instant) {
        if let Some(token) = heard.ping {
            self.answer(index, token, now);
        }
        if heard.end {
            // After what waits, the plain side is told.
            self.flush_plain(index, now);
        }
        match heard.bye {
            Some(bye) => self.parted(index, bye, now),
            None => self.finish(index, now),
        }
    }

    pub(super) fn answer(&mut self, index: usize, token: u32, now: Instant) {
        let Some(entry) = self.table.get(index).filter(|entry| entry.dialogue.is_up()) else { return };
        if entry.is_blocked() {
            entry.extra().answer = Some(token);
            return;
        }
        self.say(index, &Frame::Pong { token }, now);
    }

    /// Our beat is due.
    pub(super) fn beat(&mut self, index: usize, now: Instant) {
        let every = self.shared.config.measure_every;
        let Some(entry) = self.table.get(index) else { return };
        // What waits to be written is a sign of life itself: beats must not pile up behind it.
        if entry.is_blocked() {
            let interval = Duration::from_millis(entry.interval.into());
            let wait = self.wait(interval);
            return self.table.beat_in(index, wait, now);
        }
        if let Some(frame) = entry.dialogue.beat(every, micros(now)) {
            self.say(index, &frame, now);
        }
    }

    pub(super) fn say(&mut self, index: usize, frame: &Frame<'_>, now: Instant) {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        frame.encode(&mut out);
        self.send(index, &out, now);
        self.out = out;
    }

    /// Writes frames, which replace the next beat.
    pub(super) fn send(&mut self, index: usize, frames: &[u8], now: Instant) {
        let account = Arc::clone(&self.shared.account);
        let Some(entry) = self.table.get(index) else { return };
        let interval = entry.interval;
        if let Err(error) = entry.write(frames, &account) {
            return self.failed(index, error, now);
        }
        if interval != 0 {
            let wait = self.wait(Duration::from_millis(interval.into()));
            self.table.beat_in(index, wait, now);
        }
    }
}
