//! One session whole: bytes in, bytes out, messages.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::flow::Flow;
use super::history::{History, What};
use super::live::{Event, Live, Log};
use super::state::{Session, Times};
use super::terms::{Role, Terms};
use super::wire::{Bye, DATA_HEAD, Hello, Malformed, Reason, data_head};
use crate::heartbeat::{Timing, TimingError};
use crate::instant::Instant;
use crate::random::Random;
use crate::stamp::{Stamp, millis_rounded_up};

/// One side of a session, without a socket and without a clock.
///
/// The loop around it, whatever it waits with:
///
/// 1. what the transport brought goes to [`bytes_arrived`](Self::bytes_arrived) and [`input`](Self::input);
/// 2. [`next`](Self::next) tells what that means, until it says nothing more;
/// 3. [`poll`](Self::poll) notices silence and makes heartbeats;
/// 4. [`output`](Self::output) is what to write, [`wrote`](Self::wrote) takes how much of it was written;
/// 5. wait for the transport, for the program, and until the [`deadline`](Self::deadline).
///
/// The transport is always to be read: credit bounds what is stored here ([`Terms::window`]).
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::session::{Failure, Incoming, Offer, Role, Single, Terms};
/// use deadpeer_core::{Instant, Policy};
///
/// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
/// let terms = Terms::new(Offer::keeping(&policy)?);
/// let now = Instant::default();
/// let mut alice = Single::new(Role::Connector, terms, "alice", b"", 1, now);
/// let mut bob = Single::new(Role::Acceptor, terms, "bob", b"", 2, now);
///
/// // What one writes, the other reads.
/// fn carry(from: &mut Single, to: &mut Single, now: Instant) -> Result<(), Failure> {
///     let bytes = from.output(now).to_vec();
///     from.wrote(bytes.len(), now);
///     to.bytes_arrived(now);
///     to.input(&bytes, now)
/// }
/// carry(&mut alice, &mut bob, now)?;
/// let Some(Incoming::Greeted(peer)) = bob.next() else { panic!("alice's HELLO") };
/// assert_eq!(peer.id, "alice");
/// bob.admit(now);
/// carry(&mut bob, &mut alice, now)?;
///
/// alice.send(b"hello, Bob")?;
/// carry(&mut alice, &mut bob, now)?;
/// assert_eq!(bob.next(), Some(Incoming::Message(b"hello, Bob".to_vec())));
///
/// // Alice's host loses power.
/// let later = now.after(Duration::from_millis(9_001));
/// assert_eq!(bob.poll(later), Err(Failure::Silent { silent: Duration::from_millis(9_001) }));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Single {
    terms: Terms,
    session: Session,
    times: Times,
    flow: Flow,
    random: Random,
    history: History,
    peer: Option<Arc<Peer>>,
    /// The beginning of a frame, and when its first byte arrived.
    part: Vec<u8>,
    part_since: Stamp,
    /// A message of which pieces have arrived.
    message: Vec<u8>,
    incoming: VecDeque<Incoming>,
    /// What is told once and replaced by later ones, so that a program that never looks costs no memory.
    latest: Latest,
    /// A PING to answer.
    answer: Option<u32>,
    /// Control frames that go out next.
    control: Vec<u8>,
    /// This side's HELLO, until it is sent.
    hello: Option<Box<(String, Vec<u8>)>>,
    messages: VecDeque<Vec<u8>>,
    /// This much of the first of the messages was sent.
    sent: usize,
    queued: usize,
    end: bool,
    bye: Option<Box<Bye>>,
    /// What the peer's BYE, DRAIN or RESET said.
    goodbye: Option<Box<Bye>>,
    draining: Option<Duration>,
    reset: Option<Reason>,
    /// Frames that are being written.
    wire: Vec<u8>,
    written: usize,
}

/// Things to tell of which only the last one counts.
#[derive(Clone, Copy, Debug, Default)]
struct Latest {
    round_trip: Option<Duration>,
    unresponsive: Option<Duration>,
    drain: Option<Duration>,
}

/// Who the peer is, and what was agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The name that it says; may be empty.
    pub id: String,
    /// What it showed to prove that; may be empty.
    pub token: Vec<u8>,
    /// The largest message that it accepts, bytes.
    pub max_message: u32,
    /// Whether it accepts DATA at all.
    pub takes_data: bool,
    /// How often this side sends, and how long it waits.
    pub timing: Timing,
    /// How long the peer waits for this side.
    pub patience: Duration,
}

/// What the peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// A connector's HELLO: [`Single::admit`] it, or refuse it with [`Single::bye`].
    Greeted(Arc<Peer>),
    /// The acceptor admitted this connector: the session is up.
    Up,
    /// A message. Taking it gives the peer credit for another one.
    Message(Vec<u8>),
    /// A round-trip time, from this application to the peer's.
    RoundTrip(Duration),
    /// The peer sends no more messages.
    End,
    /// The peer leaves. This side's BYE follows by itself once everything queued is sent.
    Bye(Bye),
    /// The peer asks for another session after this time.
    Drain(Duration),
    /// The peer lost what is behind it: what it sent is incomplete. The session is over.
    Reset(Reason),
    /// The peer has not answered a PING for so long, and its bytes arrive.
    Unresponsive(Duration),
}

/// Why a session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Nothing arrived from the peer for longer than the patience.
    Silent {
        /// For so long.
        silent: Duration,
    },
    /// The peer's HELLO was not complete in time.
    NoGreeting {
        /// The limit.
        within: Duration,
    },
    /// The peer broke the protocol. A BYE stands in the output, unless the peer speaks another protocol.
    Malformed(Malformed),
    /// The peer sends too seldom for this side's offer. A BYE stands in the output.
    TooSlow(TimingError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { silent } => {
                write!(f, "nothing arrived from the peer for {}", crate::text::Span(*silent))
            }
            Self::NoGreeting { within } => {
                write!(f, "the peer sent no complete HELLO within {}", crate::text::Span(*within))
            }
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::TooSlow(error) => write!(f, "with the heartbeats that the peer offers, {error}"),
        }
    }
}

impl core::error::Error for Failure {}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotSent {
    /// The session is not up yet.
    NotUp,
    /// This side has said that it sends no more messages.
    Ended,
    /// One side has left, or the session is over.
    Left,
    /// The peer accepts no messages.
    NotTaken,
    /// The message exceeds the peer's limit.
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: u32,
    },
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUp => f.write_str("the message was not sent: the session is not up yet"),
            Self::Ended => f.write_str("the message was not sent: this side has ended its messages"),
            Self::Left => f.write_str("the message was not sent: the session is over"),
            Self::NotTaken => f.write_str("the message was not sent: the peer accepts no messages"),
            Self::TooLong { length, limit } => {
                write!(f, "the message of {length} bytes was not sent: the peer accepts {limit} bytes")
            }
        }
    }
}

impl core::error::Error for NotSent {}

/// The session with its time stamps; a macro because it borrows some fields of [`Single`] and leaves the others.
macro_rules! live {
    ($single:ident) => {
        Live {
            session: &mut $single.session,
            heard: &mut $single.times.heard,
            patience: &mut $single.times.patience,
            due: &mut $single.times.due,
            log: Log::History(&mut $single.history),
        }
    };
}

impl Single {
    /// Frames are made while fewer bytes than this are being written: PONG and RESET don't wait behind more.
    const BATCH: usize = 16 * 1024;

    /// Begins a session. A connector's HELLO stands in the output. `id` is cut to 64 bytes, `token` to 512. `seed`
    /// makes the jitter of the heartbeats: give each session another one.
    pub fn new(role: Role, terms: Terms, id: &str, token: &[u8], seed: u64, now: Instant) -> Self {
        let mut terms = terms;
        if terms.window != 0 {
            // A message in pieces must never use up the credit before it is complete.
            terms.max_message = terms.max_message.min(Hello::MOST_CREDIT - Terms::RESERVE - 1);
            terms.window = terms.window.max(terms.max_message + Terms::RESERVE).min(Hello::MOST_CREDIT - 1);
        }
        let heard = Stamp::of(now);
        let greeting = terms.greeting.clamp(Timing::SHORTEST, Timing::LONGEST);
        let mut single = Self {
            session: Session::new(role, now),
            times: Times { heard, patience: millis_rounded_up(greeting), due: heard },
            flow: Flow::new(terms.window, terms.window.saturating_sub(terms.max_message)),
            random: Random::new(seed),
            history: History::new(),
            peer: None,
            part: Vec::new(),
            part_since: heard,
            message: Vec::new(),
            incoming: VecDeque::new(),
            latest: Latest::default(),
            answer: None,
            control: Vec::new(),
            hello: Some(Box::new((id.to_string(), token.to_vec()))),
            messages: VecDeque::new(),
            sent: 0,
            queued: 0,
            end: false,
            bye: None,
            goodbye: None,
            draining: None,
            reset: None,
            wire: Vec::new(),
            written: 0,
            terms,
        };
        single.history.record(What::Opened, 0, now);
        if role == Role::Connector {
            single.greet(now);
        }
        single
    }

    fn greet(&mut self, now: Instant) {
        if let Some(hello) = self.hello.take() {
            let (id, token) = *hello;
            live!(self).hello(&self.terms.hello(&id, &token), now, &mut self.control);
        }
    }

    /// Bytes arrived from the transport: a sign of life. Over TLS these are the encrypted bytes, also if they don't
    /// complete a record.
    pub fn bytes_arrived(&mut self, now: Instant) {
        live!(self).bytes_arrived(now);
    }

    /// Takes what arrived, all of it.
    ///
    /// # Errors
    /// [`Failure::Malformed`] and [`Failure::TooSlow`]: write the output and close.
    pub fn input(&mut self, bytes: &[u8], now: Instant) -> Result<(), Failure> {
        let taken = if self.part.is_empty() {
            self.take(bytes, now)
        } else {
            let mut whole = core::mem::take(&mut self.part);
            whole.extend_from_slice(bytes);
            let taken = self.take(&whole, now);
            if let Ok(taken @ 1..) = taken {
                self.part_since = Stamp::of(now);
                self.part = whole.split_off(taken);
            } else {
                self.part = whole;
            }
            return taken.map(drop).or_else(|malformed| self.refuse(malformed, now));
        };
        match taken {
            Ok(taken) => {
                if taken < bytes.len() {
                    self.part_since = Stamp::of(now);
                    self.part = bytes[taken..].to_vec();
                }
                Ok(())
            }
            Err(failure) => self.refuse(failure, now),
        }
    }

    /// Takes whole frames, and pieces of DATA.
    fn take(&mut self, bytes: &[u8], now: Instant) -> Result<usize, Failure> {
        let mut at = 0;
        loop {
            let input = live!(self).input(&self.terms, Some(&mut self.flow), &bytes[at..], now);
            let (taken, event) = input.map_err(Failure::Malformed)?;
            at += taken;
            if let Some(event) = event {
                self.heard(event, now)?;
            }
            if taken == 0 || at == bytes.len() {
                return Ok(at);
            }
        }
    }

    fn heard(&mut self, event: Event<'_>, now: Instant) -> Result<(), Failure> {
        let told = match event {
            Event::Greeted { hello, agreed } => {
                let timing = agreed.map_err(Failure::TooSlow)?;
                self.flow.opened(hello.window);
                let peer = Arc::new(Peer {
                    id: hello.id.to_string(),
                    token: hello.token.to_vec(),
                    max_message: hello.max_message,
                    takes_data: hello.window != 0,
                    timing,
                    patience: hello.offer.patience,
                });
                self.peer = Some(Arc::clone(&peer));
                match self.session.role() {
                    Role::Acceptor => Incoming::Greeted(peer),
                    Role::Connector => {
                        live!(self).admit(&self.terms, timing, &mut self.random, now);
                        Incoming::Up
                    }
                }
            }
            Event::Asked { token } => {
                self.answer = Some(token);
                return Ok(());
            }
            Event::Data { piece, last } => {
                if self.message.len() + piece.len() > self.terms.max_message as usize {
                    return Err(Failure::Malformed(Malformed::TooLong { limit: self.terms.max_message }));
                }
                self.message.extend_from_slice(piece);
                if !last {
                    return Ok(());
                }
                Incoming::Message(core::mem::take(&mut self.message))
            }
            Event::RoundTrip(rtt) => {
                self.latest.round_trip = Some(rtt);
                return Ok(());
            }
            Event::Credit => return Ok(()),
            Event::End => Incoming::End,
            Event::Bye(bye) => {
                // Answered when everything queued is sent.
                self.bye.get_or_insert_with(|| Box::new(Bye::new(Reason::Done)));
                self.goodbye = Some(Box::new(bye));
                Incoming::Bye(bye)
            }
            Event::Drain(back_in) => {
                (self.draining, self.latest.drain) = (Some(back_in), Some(back_in));
                return Ok(());
            }
            Event::Reset(reason) => {
                self.forget_queue();
                self.reset = Some(reason);
                Incoming::Reset(reason)
            }
        };
        self.incoming.push_back(told);
        Ok(())
    }

    /// The peer is told why; what it sends from now on is not looked at.
    fn refuse(&mut self, failure: Failure, now: Instant) -> Result<(), Failure> {
        let reason = match failure {
            Failure::Malformed(Malformed::NotHello) => None,
            Failure::TooSlow(_) => Some(Reason::TooSlow),
            _ => Some(Reason::Malformed),
        };
        self.forget_queue();
        if let Some(reason) = reason {
            // A connector that has not greeted could not read it.
            live!(self).bye(Bye::new(reason), now, &mut self.control);
        }
        live!(self).lose(now);
        Err(failure)
    }

    fn forget_queue(&mut self) {
        self.messages.clear();
        (self.sent, self.queued, self.end, self.bye, self.answer) = (0, 0, false, None, None);
        self.part = Vec::new();
    }

    /// An acceptor goes on with the connector whose HELLO came.
    pub fn admit(&mut self, now: Instant) {
        if let Some(peer) = &self.peer
            && self.session.role() == Role::Acceptor
            && self.session.is_greeting()
        {
            let timing = peer.timing;
            self.greet(now);
            live!(self).admit(&self.terms, timing, &mut self.random, now);
        }
    }

    /// What the peer said, one after the other. Of round-trip times, DRAINs and [`Incoming::Unresponsive`] only the last is
    /// kept until it is asked for, and it comes before what waits.
    #[expect(clippy::should_implement_trait, reason = "more may follow after nothing")]
    pub fn next(&mut self) -> Option<Incoming> {
        let Latest { round_trip, unresponsive, drain } = &mut self.latest;
        let latest = round_trip.take().map(Incoming::RoundTrip);
        let latest = latest.or_else(|| unresponsive.take().map(Incoming::Unresponsive));
        if let Some(told) = latest.or_else(|| drain.take().map(Incoming::Drain)) {
            return Some(told);
        }
        let told = self.incoming.pop_front()?;
        if self.incoming.is_empty() {
            self.incoming = VecDeque::new();
        }
        if let Incoming::Message(message) = &told {
            self.flow.taken((message.len() + DATA_HEAD) as u32);
        }
        Some(told)
    }

    /// Whether [`next`](Self::next) has a message, an end or a goodbye to tell.
    pub fn has_news(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Does what time demands: notices silence, makes a heartbeat if one is due.
    ///
    /// # Errors
    /// [`Failure::Silent`] and [`Failure::NoGreeting`], once: the peer is lost. [`Failure::Malformed`] if the peer began a
    /// frame and did not complete it in time.
    pub fn poll(&mut self, now: Instant) -> Result<(), Failure> {
        if self.session.is_over() {
            return Ok(());
        }
        if let Some(silent) = live!(self).silent(now) {
            let greeting = self.session.is_greeting();
            live!(self).lose(now);
            self.forget_queue();
            return Err(if greeting {
                Failure::NoGreeting { within: self.terms.greeting }
            } else {
                Failure::Silent { silent }
            });
        }
        if !self.part.is_empty() && self.is_part_late(now) {
            return self.refuse(Failure::Malformed(Malformed::Unfinished), now);
        }
        if self.session.is_up() && self.times.due.age(Stamp::of(now)) >= 0 {
            let unresponsive = if self.is_blocked() {
                live!(self).blocked(&self.terms, &mut self.random, now)
            } else {
                let unresponsive = live!(self).beat(&self.terms, now, &mut self.control);
                // Due again when it is written, and not before.
                live!(self).wrote(&self.terms, &mut self.random, now);
                unresponsive
            };
            if let Some(time) = unresponsive {
                self.latest.unresponsive = Some(time);
            }
        }
        Ok(())
    }

    fn is_part_late(&self, now: Instant) -> bool {
        self.session.is_up()
            && self.part_since.age(Stamp::of(now)).max(0).cast_unsigned() > self.times.patience
    }

    /// When to call [`poll`](Self::poll) if nothing arrives before; [`Instant::NEVER`] when the session is over.
    pub fn deadline(&self, now: Instant) -> Instant {
        if self.session.is_over() {
            return Instant::NEVER;
        }
        let patience = Duration::from_millis(u64::from(self.times.patience) + 1);
        let mut deadline = self.times.heard.instant(now).after(patience);
        if self.session.is_up() {
            deadline = deadline.min(self.times.due.instant(now));
            if !self.part.is_empty() {
                deadline = deadline.min(self.part_since.instant(now).after(patience));
            }
        }
        deadline
    }

    /// The bytes to be written next; empty if there are none. They stay the same until [`wrote`](Self::wrote).
    pub fn output(&mut self, now: Instant) -> &[u8] {
        if self.written == self.wire.len() {
            self.wire.clear();
            self.written = 0;
            self.fill(now);
            if self.wire.is_empty() && self.wire.capacity() > 64 {
                // A session at rest holds no buffers.
                self.wire = Vec::new();
            }
        }
        &self.wire[self.written..]
    }

    /// Whether bytes are being written.
    fn is_blocked(&self) -> bool {
        self.written < self.wire.len() || !self.control.is_empty()
    }

    /// `written` bytes of the output were written, at most its length.
    pub fn wrote(&mut self, written: usize, now: Instant) {
        self.written = (self.written + written).min(self.wire.len());
        if written > 0 {
            live!(self).wrote(&self.terms, &mut self.random, now);
        }
    }

    /// Makes frames of what waits: control frames, then messages as far as credit goes, then END, then BYE.
    fn fill(&mut self, now: Instant) {
        self.wire.append(&mut self.control);
        if self.control.capacity() > 64 {
            self.control = Vec::new();
        }
        if !self.session.is_up() {
            return self.say_bye(now);
        }
        if let Some(token) = self.answer.take() {
            live!(self).answer(token, now, &mut self.wire);
        }
        if let Some(credit) = self.flow.grant() {
            live!(self).grant(credit, &mut self.wire);
        }
        while self.wire.len() < Self::BATCH && self.fill_piece(now) {}
        if self.messages.is_empty() {
            if core::mem::take(&mut self.end) {
                live!(self).end(now, &mut self.wire);
            }
            self.say_bye(now);
        }
    }

    fn say_bye(&mut self, now: Instant) {
        if let Some(bye) = self.bye.take() {
            live!(self).bye(*bye, now, &mut self.wire);
        }
    }

    /// Makes one DATA frame. Says whether it did.
    fn fill_piece(&mut self, now: Instant) -> bool {
        let Some(message) = self.messages.front() else { return false };
        let left = message.len() - self.sent;
        let length = left.min(self.flow.may_send() as usize);
        if length == 0 && (left > 0 || !self.flow.may_send_empty()) {
            return false;
        }
        self.wire.extend_from_slice(&data_head(length as u16, length < left));
        self.wire.extend_from_slice(&message[self.sent..self.sent + length]);
        self.flow.sent(length as u32);
        live!(self).sending(length as u32, now);
        self.sent += length;
        if length == left {
            self.queued -= self.sent;
            self.sent = 0;
            self.messages.pop_front();
            if self.messages.is_empty() {
                self.messages = VecDeque::new();
            }
        }
        true
    }

    /// Queues a message. It is sent as far as the peer's credit allows; [`queued`](Self::queued) says what waits.
    ///
    /// # Errors
    /// [`NotSent`]: nothing was queued.
    pub fn send(&mut self, message: &[u8]) -> Result<(), NotSent> {
        self.may_send(message.len())?;
        self.queued += message.len();
        self.messages.push_back(message.to_vec());
        Ok(())
    }

    /// Whether [`send`](Self::send) would take a message of this length.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn may_send(&self, length: usize) -> Result<(), NotSent> {
        if self.session.is_greeting() {
            return Err(NotSent::NotUp);
        }
        if self.session.is_over() || self.session.has_left() || self.bye.is_some() {
            return Err(NotSent::Left);
        }
        if self.end || self.session.has_ended() {
            return Err(NotSent::Ended);
        }
        match &self.peer {
            Some(peer) if !peer.takes_data => Err(NotSent::NotTaken),
            Some(peer) if length > peer.max_message as usize => {
                Err(NotSent::TooLong { length, limit: peer.max_message })
            }
            _ => Ok(()),
        }
    }

    /// The bytes of messages that are not yet sent, for want of credit or because the transport takes no more.
    pub const fn queued(&self) -> usize {
        self.queued + self.wire.len() - self.written
    }

    /// Whether everything that the program asked for is written: messages, the end of them, a goodbye.
    pub fn is_flushed(&self) -> bool {
        self.queued() == 0 && self.messages.is_empty() && !self.end && self.bye.is_none()
    }

    /// This side sends no more messages after those that are queued. It goes on beating, and hears the peer's messages.
    pub fn end(&mut self) {
        self.end |= !self.session.has_ended() && !self.session.has_left();
    }

    /// Leaves, once everything that is queued is sent. What the peer sends until its own BYE still arrives; the session
    /// is over when that has come.
    pub fn bye(&mut self, bye: Bye) {
        if !self.session.has_left() && !self.session.is_over() {
            self.bye = Some(Box::new(bye));
        }
    }

    /// What is behind this side was lost: drops what is queued and tells the peer. The session is over.
    pub fn reset(&mut self, reason: Reason, now: Instant) {
        self.forget_queue();
        live!(self).reset(reason, now, &mut self.control);
    }

    /// Asks the peer to open another session after `back_in`. This one goes on.
    pub fn drain(&mut self, back_in: Duration, now: Instant) {
        live!(self).drain(back_in, now, &mut self.control);
    }

    /// The transport failed, or ended: nothing more can be sent or will arrive.
    pub fn handle_closed(&mut self, now: Instant) {
        live!(self).lose(now);
        self.forget_queue();
    }

    /// This process did not run for `paused`, until now (it was stopped, the machine slept): nothing is held against the
    /// peer.
    pub fn handle_pause(&mut self, paused: Duration, now: Instant) {
        live!(self).handle_pause(paused, now);
        self.part_since = self.part_since.after(paused);
    }

    /// The peer's goodbye, as soon as it has arrived: messages before it may still wait.
    pub fn goodbye(&self) -> Option<&Bye> {
        self.goodbye.as_deref()
    }

    /// After what time the peer asked for another session, if it did.
    pub const fn draining(&self) -> Option<Duration> {
        self.draining
    }

    /// Why the peer reset the session, if it did.
    pub const fn reset_reason(&self) -> Option<Reason> {
        self.reset
    }

    /// Whether [`poll`](Self::poll) would find that the peer has been silent for too long. A caller who can ask the kernel
    /// when bytes last arrived, also those that a TLS layer has not passed on, asks now, and tells
    /// [`bytes_arrived`](Self::bytes_arrived).
    pub fn is_silent(&mut self, now: Instant) -> bool {
        self.session.is_up() && live!(self).silent(now).is_some()
    }

    /// For how long the peer may be silent.
    pub const fn patience(&self) -> Duration {
        Duration::from_millis(self.times.patience as u64)
    }

    /// The session's state.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The peer, once its HELLO has come.
    pub const fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// The last events.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// For how long nothing has arrived from the peer.
    pub fn silence(&self, now: Instant) -> Duration {
        self.times.heard.since(now)
    }
}
