//! The side of the peer: greeting, frames, heartbeats.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use deadpeer::{AsSock, Loss, Mechanism, PeerLost, prepare_session};
use deadpeer_core::carried::Todo;
use deadpeer_core::session::{Bye, DATA_HEAD, Event, Hello, Malformed, Reason};
use deadpeer_core::{Timing, TimingError};

use super::entry::Got;
use super::visit::{Context, Outcome, Over, Visit, Why, live};
use super::{Role, SHORT_IS_ALL, Side};
use crate::event::{Ending, Event as Told, Refusal, Who};
use crate::tls::certified;

impl Visit<'_> {
    /// Sends the HELLO: a connector at once, an acceptor when it admits.
    pub(super) fn greet(&mut self) {
        let shared = Arc::clone(&self.context.shared);
        let mut terms = self.context.terms;
        terms.window = self.entry.joint().map_or(0, |joint| joint.flow.window());
        let hello = terms.hello(&shared.config.id, b"");
        self.say(true, |live, now, out| live.hello(&hello, now, out));
    }

    /// One read. Says whether there may be more.
    pub(super) fn read_session(&mut self, to_the_end: bool, scratch: &mut [u8]) -> Outcome<bool> {
        if self.entry.is_connecting() {
            return Ok(false);
        }
        let Got { read, arrived } = self.entry.read(scratch);
        if arrived && let Some(mut live) = self.columns.live(self.index) {
            live.bytes_arrived(self.context.now);
        }
        let read = match read {
            Ok(0) => return Err(self.closed()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // After a failed write everything that had arrived is delivered now.
                return self.failure().map_or(Ok(false), |failure| Err(self.failed(failure)));
            }
            Err(error) => {
                let error = self.failure().unwrap_or(error);
                return Err(self.failed(error));
            }
        };
        self.take(&scratch[..read])?;
        let on = to_the_end || self.entry.is_encrypted() || self.has_failed() || !SHORT_IS_ALL;
        Ok(read == scratch.len() || on)
    }

    fn has_failed(&self) -> bool {
        self.entry.extra.as_ref().is_some_and(|extra| extra.failed.is_some())
    }

    fn failure(&mut self) -> Option<io::Error> {
        self.entry.extra.as_mut()?.failed.take()
    }

    /// Takes what arrived.
    fn take(&mut self, read: &[u8]) -> Outcome {
        match &mut self.entry.extra {
            Some(extra) if !extra.part.is_empty() => {
                let mut whole = std::mem::take(&mut extra.part);
                whole.extend_from_slice(read);
                self.frames(&whole, true)?;
            }
            _ => self.frames(read, false)?,
        }
        self.entry.rest();
        Ok(())
    }

    /// Takes frames. Data is collected, and delivered in one write. `begun`: the first frame began in an earlier read.
    fn frames(&mut self, bytes: &[u8], begun: bool) -> Outcome {
        let mut asked = None;
        let mut at = 0;
        self.context.pieces.clear();
        while at < bytes.len() {
            let Some((mut live, flow)) = live(self.columns, self.entry, self.index) else { return Ok(()) };
            let input = live.input(&self.context.terms, flow, &bytes[at..], self.context.now);
            let (taken, event) = match input {
                Ok(input) => input,
                Err(malformed) => {
                    self.deliver(bytes)?;
                    return Err(self.malformed(malformed));
                }
            };
            if taken == 0 {
                self.keep(&bytes[at..], begun && at == 0)?;
                break;
            }
            at += taken;
            match event {
                None => {}
                Some(Event::Data { piece, last }) => {
                    self.context.pieces.push(at - piece.len()..at);
                    if last && let Some(joint) = self.entry.joint() {
                        joint.flow.taken(DATA_HEAD as u32);
                    }
                }
                Some(Event::Asked { token }) => asked = Some(token),
                Some(event) => {
                    // Data is delivered before what came after it.
                    self.deliver(bytes)?;
                    self.heard(event)?;
                }
            }
        }
        self.deliver(bytes)?;
        if let Some(token) = asked {
            self.answer(token);
        }
        Ok(())
    }

    /// Keeps the beginning of a control frame, which must be completed in time.
    fn keep(&mut self, part: &[u8], begun: bool) -> Outcome {
        let now = self.context.now;
        let patience = self.live().map_or(Duration::MAX, |live| live.patience());
        let is_up = self.is_up();
        let extra = self.entry.extra();
        extra.part = part.to_vec();
        if !begun {
            extra.part_since = now;
        } else if is_up && now.since(extra.part_since) > patience {
            return Err(self.malformed(Malformed::Unfinished));
        }
        Ok(())
    }

    fn heard(&mut self, event: Event<'_>) -> Outcome {
        match event {
            Event::Greeted { hello, agreed } => self.greeted(&hello, agreed),
            Event::Bye(bye) => self.parted(bye),
            Event::Reset(reason) => match self.entry.joint() {
                Some(joint) => {
                    let todo = joint.carried.handle_reset(reason);
                    self.perform(todo, None)
                }
                None => Err(Over::ended(Ending::Left(Bye::new(reason)), None)),
            },
            Event::End => match self.entry.joint() {
                Some(joint) => {
                    let todo = joint.carried.handle_end();
                    self.perform(todo, None)
                }
                None => Ok(()),
            },
            Event::Credit => {
                self.resume_plain();
                Ok(())
            }
            Event::Drain(back_in) => {
                let who = self.who();
                self.context.shared.tell(Told::Draining { who, back_in });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn greeted(&mut self, hello: &Hello<'_>, agreed: Result<Timing, TimingError>) -> Outcome {
        let timing = agreed.map_err(|error| Over::refused(Refusal::TooSlow(error), Some(Reason::TooSlow)))?;
        let server = matches!(self.context.role, Role::Server { .. });
        let tls = self.entry.extra.as_ref().and_then(|extra| extra.tls.as_deref());
        self.entry.id = match tls.and_then(certified).filter(|_| server) {
            None => hello.id.into(),
            Some(certified) if hello.id.is_empty() && !certified.is_empty() => certified[0].as_str().into(),
            Some(certified) if certified.iter().any(|name| name == hello.id) => hello.id.into(),
            Some(certified) => {
                let refusal = Refusal::WrongName { said: hello.id.to_owned(), certified };
                return Err(Over::refused(refusal, Some(Reason::Unauthorised)));
            }
        };
        if server {
            self.greet();
        }
        if let Some(dial) = self.entry.extra().dial.take() {
            *self.context.shared.worked() = dial.address();
        }
        let Context { terms, random, now, .. } = &mut *self.context;
        if let Some((mut live, flow)) = live(self.columns, self.entry, self.index) {
            live.admit(terms, timing, random, *now);
            if let Some(flow) = flow {
                flow.opened(hello.window);
            }
        }
        let who = self.who();
        self.context.shared.tell(Told::Arrived { who, timing });
        match self.context.stopping {
            Some(bye) => self.leave(bye),
            None => self.came_up(),
        }
    }

    /// Says BYE; the session ends when the peer has answered.
    pub(super) fn leave(&mut self, bye: Bye) -> Outcome {
        if self.is_greeting() {
            return Err(Over::told(Some(bye)));
        }
        self.say(false, |live, now, out| live.bye(bye, now, out));
        Ok(())
    }

    /// The peer said BYE.
    fn parted(&mut self, bye: Bye) -> Outcome {
        if self.columns.session(self.index).is_some_and(|session| !session.is_up() && !session.has_left()) {
            return Err(Over::refused(Refusal::Bye(bye), None));
        }
        if let Some(joint) = self.entry.joint() {
            let todo = joint.carried.handle_bye();
            return self.perform(todo, Some(Ending::Left(bye)));
        }
        if self.context.stopping.is_some() {
            return Err(Over::told(None));
        }
        Err(Over::ended(Ending::Left(bye), Some(Bye::new(Reason::Done))))
    }

    /// Does what the state of a carried connection asks for. `ending`: the words for its end, if the event has some.
    pub(super) fn perform(&mut self, todo: Todo, ending: Option<Ending>) -> Outcome {
        if let Some(reason) = todo.reset {
            if let Some(extra) = &mut self.entry.extra {
                extra.outgoing.forget();
            }
            self.say(false, |live, now, out| live.reset(reason, now, out));
        }
        if todo.end {
            self.say(false, |live, now, out| live.end(now, out));
        }
        if todo.shut {
            self.shut_plain()?;
        }
        if todo.bye {
            self.say(false, |live, now, out| live.bye(Bye::new(Reason::Done), now, out));
        }
        if todo.abort
            && let Some(joint) = self.entry.joint()
        {
            joint.abort();
        }
        match todo.over {
            None => Ok(()),
            Some(end) => Err(Over::ended(ending.unwrap_or_else(|| Ending::of(end)), None)),
        }
    }

    fn answer(&mut self, token: u32) {
        if self.entry.is_blocked() {
            self.entry.extra().answer = Some(token);
        } else {
            self.say(true, |live, now, out| live.answer(token, now, out));
        }
    }

    /// A heartbeat is due.
    pub(super) fn beat(&mut self) {
        let unresponsive = if self.entry.is_blocked() {
            let Context { terms, random, now, .. } = &mut *self.context;
            live(self.columns, self.entry, self.index)
                .and_then(|(mut live, _)| live.blocked(terms, random, *now))
        } else {
            let terms = self.context.terms;
            let mut unresponsive = None;
            self.say(true, |live, now, out| unresponsive = live.beat(&terms, now, out));
            unresponsive
        };
        if let Some(unanswered) = unresponsive {
            let who = self.who();
            self.context.shared.tell(Told::Unresponsive { who, unanswered });
        }
    }

    /// The session's socket takes more, or the connection was made, or could not be.
    pub(super) fn session_writable(&mut self) -> Outcome {
        if self.entry.is_connecting() && !self.session_made()? {
            return Ok(());
        }
        if self.entry.extra.is_none() {
            return Ok(());
        }
        if let Some(token) = self.entry.extra().answer.take() {
            self.say(true, |live, now, out| live.answer(token, now, out));
        }
        match self.entry.flush() {
            Ok((all, any)) => {
                self.wrote(any);
                if !all {
                    return Ok(());
                }
            }
            Err(error) => {
                self.write_failed(error);
                return Ok(());
            }
        }
        if self.entry.extra.as_ref().is_some_and(|extra| extra.closing) {
            return Err(Over::told(None));
        }
        self.resume_plain();
        self.entry.rest();
        Ok(())
    }

    /// Whether the stream is made. If it can't be, the next address is tried.
    fn session_made(&mut self) -> Outcome<bool> {
        let Some(dial) = self.entry.extra.as_mut().and_then(|extra| extra.dial.as_mut()) else {
            return Ok(true);
        };
        match dial.is_made(&self.entry.socket) {
            Ok(made) => Ok(made),
            Err(error) => self.next_place(&error.to_string()).map(|()| false),
        }
    }

    /// Tries the next address: this one can't be reached, or stays silent.
    pub(super) fn next_place(&mut self, why: &str) -> Outcome {
        let now = self.context.now;
        let unreachable = |error| Over::refused(Refusal::Unreachable(error), None);
        let Some(mut dial) = self.entry.extra().dial.take() else { return Ok(()) };
        *self.context.shared.worked() = None;
        dial.fail(why);
        let mut socket = dial.begin(None, now).map_err(unreachable)?;
        Self::watch(&self.context.registry, &mut socket, self.index, Side::Session)
            .map_err(|error| unreachable(error.to_string()))?;
        let tls =
            self.context.role.tls().map_err(|error| Over::refused(Refusal::Tls(error.to_string()), None))?;
        prepare_session(socket.as_sock());
        self.columns.reopen(self.index, dial.patience(), now);
        self.entry.socket = socket;
        if let Some(address) = dial.address().filter(|_| !self.entry.is_joined()) {
            self.entry.address = address.into();
        }
        let extra = self.entry.extra();
        (extra.dial, extra.tls) = (Some(dial), tls);
        extra.part.clear();
        extra.outgoing = Default::default();
        self.greet();
        Ok(())
    }

    /// At each tick, while a stream is being made or the peer has not greeted.
    pub(super) fn look_for_greeting(&mut self) -> Outcome {
        let now = self.context.now;
        let dial = self.entry.extra.as_ref().and_then(|extra| extra.dial.as_ref());
        match dial {
            Some(dial) if dial.is_to_move_on(now) => {
                let why = if dial.connected { "it sent no HELLO in time" } else { "no answer in time" };
                self.next_place(why)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn who(&self) -> Who {
        Who { id: self.entry.id.to_string(), address: self.entry.address.into() }
    }

    /// The stream ended.
    fn closed(&mut self) -> Box<Over> {
        if let Some(error) = self.failure() {
            return self.failed(error);
        }
        if self.is_greeting() {
            return Over::refused(Refusal::Closed, None);
        }
        if self.columns.session(self.index).is_some_and(|session| session.is_over()) {
            return Over::told(None);
        }
        Over::died(PeerLost::new(Loss::Closed, Mechanism::EndOfFile))
    }

    /// A read or a write failed.
    fn failed(&mut self, error: io::Error) -> Box<Over> {
        let error = PeerLost::explain(&self.entry.socket, error);
        let greeting = self.is_greeting();
        match PeerLost::of(&error) {
            _ if greeting && error.kind() == io::ErrorKind::InvalidData => {
                Over::refused(Refusal::Tls(error.to_string()), None)
            }
            // The connection was there: a close with our HELLO unread is a reset.
            Some(lost) if greeting && matches!(lost.cause, Loss::Reset | Loss::Closed) => {
                Over::refused(Refusal::Closed, None)
            }
            Some(_) if greeting => Over::refused(Refusal::Unreachable(error.to_string()), None),
            Some(lost) => Over::died(lost.clone()),
            None if greeting => Over::refused(Refusal::Closed, None),
            None => Over::ended(Ending::Broke(error.to_string()), None),
        }
    }

    fn malformed(&mut self, malformed: Malformed) -> Box<Over> {
        let bye = Some(Bye::new(Reason::Malformed));
        if malformed == Malformed::NoCredit && !self.entry.is_joined() {
            let what = "it sent data, and there is no place to forward that to";
            return Over::ended(Ending::Broke(what.to_owned()), Some(Bye::new(Reason::Refused)));
        }
        if !self.is_greeting() {
            return Over::ended(Ending::Broke(malformed.to_string()), bye);
        }
        // To a peer that speaks another protocol nothing is said.
        let bye = if malformed == Malformed::NotHello { None } else { bye };
        Box::new(Over { why: Why::Refused(Refusal::Malformed(malformed)), bye })
    }
}
