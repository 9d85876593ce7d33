//! One session while it is being worked on.

use alloc::vec::Vec;
use core::time::Duration;

use super::flow::Flow;
use super::history::{History, What};
use super::journal::Journal;
use super::state::{Flags, Phase, Session, micros, seconds};
use super::terms::{Role, Terms};
use super::wire::{Bye, DATA_HEAD, Frame, Head, Hello, Malformed, Reason};
use crate::heartbeat::{Timing, TimingError};
use crate::instant::Instant;
use crate::random::Random;
use crate::stamp::{Stamp, millis, millis_rounded_up};

/// One session's state with its time stamps, borrowed from where they are stored. See the [module](super).
///
/// The caller's duties:
///
/// - Call [`bytes_arrived`](Live::bytes_arrived) for every read of the transport that brought bytes, below any encryption.
/// - Give the bytes to [`input`](Live::input) again and again until it takes none; give the rest again with what follows.
/// - Write what was appended to `out`, in order, and call [`wrote`](Live::wrote) whenever the transport took bytes.
/// - When the heartbeat is due: [`beat`](Live::beat), or [`blocked`](Live::blocked) if earlier bytes still wait to be written.
#[derive(Debug)]
pub struct Live<'a> {
    pub(super) session: &'a mut Session,
    pub(super) heard: &'a mut Stamp,
    /// Milliseconds.
    pub(super) patience: &'a mut u32,
    pub(super) due: &'a mut Stamp,
    pub(super) log: Log<'a>,
}

/// Where the events of a session are recorded.
#[derive(Debug)]
pub(super) enum Log<'a> {
    History(&'a mut History),
    Journal(&'a mut Journal, usize),
}

impl Log<'_> {
    fn record(&mut self, what: What, count: u32, now: Instant) {
        match self {
            Self::History(history) => history.record(what, count, now),
            Self::Journal(journal, index) => journal.record(*index, what, now),
        }
    }
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'b> {
    /// The peer's HELLO. [`Live::admit`] it or say BYE; nothing else may be done before.
    Greeted {
        /// The HELLO.
        hello: Hello<'b>,
        /// What the two offers agree on; the error says why they don't (BYE, [`Reason::TooSlow`]).
        agreed: Result<Timing, TimingError>,
    },
    /// A PING: answer with [`Live::answer`] before the next heartbeat. Of several, only the last needs an answer.
    Asked {
        /// The token for the answer.
        token: u32,
    },
    /// The answer to a PING.
    RoundTrip(Duration),
    /// Content of a DATA frame.
    Data {
        /// The bytes; may be empty. Tell [`Flow::taken`] when the program has taken them.
        piece: &'b [u8],
        /// A message ends with this piece; then [`Flow::taken`] counts [`DATA_HEAD`] bytes more.
        last: bool,
    },
    /// WINDOW: more DATA may be sent.
    Credit,
    /// The peer sends no more DATA.
    End,
    /// The peer leaves: deliver what came before, send what is to be sent, and then say BYE.
    Bye(Bye),
    /// The peer asks this side to open another session after this time.
    Drain(Duration),
    /// The peer lost what is behind it: what it sent is incomplete. The session is over.
    Reset(Reason),
}

impl Live<'_> {
    /// Bytes arrived from the transport. Before the two sides have agreed this proves nothing: the HELLO's deadline is
    /// absolute.
    #[inline]
    pub fn bytes_arrived(&mut self, now: Instant) {
        if self.session.is_up() {
            *self.heard = Stamp::of(now);
        }
    }

    /// Takes one frame, or a piece of one, from the front of `bytes`. Says how many bytes it took and what they mean. No
    /// bytes taken: the rest of the frame is still to come. `flow` is `None` for a session that carries no data.
    ///
    /// # Errors
    /// [`Malformed`]: the session can't go on. Say BYE ([`Reason::Malformed`]), except after
    /// [`Malformed::NotHello`], and close.
    pub fn input<'b>(
        &mut self,
        terms: &Terms,
        flow: Option<&mut Flow>,
        bytes: &'b [u8],
        now: Instant,
    ) -> Result<(usize, Option<Event<'b>>), Malformed> {
        if bytes.is_empty() || self.session.is_over() {
            return Ok((bytes.len(), None));
        }
        if self.session.rest != 0 {
            return Ok(self.content(bytes, now));
        }
        if self.session.phase == Phase::Greeting {
            self.expect_hello(bytes[0])?;
        }
        let Some((head, taken)) = Head::decode(bytes)? else {
            self.part(now);
            return Ok((0, None));
        };
        self.session.flags.clear(Flags::PART);
        let event = match head {
            Head::Frame(frame) => self.frame(terms, flow, frame, now)?,
            Head::Skip { length } => {
                self.only_up("a frame to be skipped")?;
                self.session.rest = length;
                self.session.flags.set(Flags::SKIPPING);
                None
            }
            Head::Data { length, more } => {
                self.only_up("DATA")?;
                if self.session.flags.has(Flags::PEER_ENDED | Flags::PEER_LEFT) {
                    return Err(Malformed::Unexpected { frame: "DATA" });
                }
                let flow = flow.ok_or(Malformed::NoCredit)?;
                flow.arrived(length.into())?;
                if more {
                    // So a message in many pieces can't use up the credit with its heads. The last one is owed when the
                    // message is taken: it bounds the number of messages that wait.
                    flow.taken(DATA_HEAD as u32);
                }
                self.session.rest = length;
                self.session.flags.put(Flags::MORE, more);
                if length == 0 {
                    self.log.record(What::HeardData, 0, now);
                    Some(Event::Data { piece: &[], last: !more })
                } else if bytes.len() > taken {
                    let (more, event) = self.content(&bytes[taken..], now);
                    return Ok((taken + more, event));
                } else {
                    None
                }
            }
        };
        Ok((taken, event))
    }

    /// Content of a frame whose head has arrived.
    fn content<'b>(&mut self, bytes: &'b [u8], now: Instant) -> (usize, Option<Event<'b>>) {
        let length = bytes.len().min(self.session.rest.into());
        self.session.rest -= length as u16;
        if self.session.flags.has(Flags::SKIPPING) {
            if self.session.rest == 0 {
                self.session.flags.clear(Flags::SKIPPING);
            }
            return (length, None);
        }
        self.log.record(What::HeardData, length as u32, now);
        let last = self.session.rest == 0 && !self.session.flags.has(Flags::MORE);
        (length, Some(Event::Data { piece: &bytes[..length], last }))
    }

    /// Of a peer that speaks another protocol the first byte tells enough.
    fn expect_hello(&self, kind: u8) -> Result<(), Malformed> {
        const HELLO: u8 = 1;
        const BYE: u8 = 7;
        match kind {
            HELLO | BYE => Ok(()),
            _ => Err(Malformed::NotHello),
        }
    }

    fn only_up(&self, frame: &'static str) -> Result<(), Malformed> {
        if self.session.is_up() { Ok(()) } else { Err(Malformed::Unexpected { frame }) }
    }

    /// A part of a frame is a sign of life, and worth an event: once for each frame.
    fn part(&mut self, now: Instant) {
        if !self.session.flags.has(Flags::PART) {
            self.session.flags.set(Flags::PART);
            self.log.record(What::HeardPart, 0, now);
        }
    }

    fn frame<'b>(
        &mut self,
        terms: &Terms,
        flow: Option<&mut Flow>,
        frame: Frame<'b>,
        now: Instant,
    ) -> Result<Option<Event<'b>>, Malformed> {
        match frame {
            Frame::Hello(_) if self.session.phase == Phase::Greeting => {}
            Frame::Bye(_) => {}
            _ => self.only_up(frame.name())?,
        }
        let event = match frame {
            Frame::Hello(hello) => {
                if self.session.phase != Phase::Greeting {
                    return Err(Malformed::Unexpected { frame: frame.name() });
                }
                self.session.phase = Phase::Greeted;
                self.log.record(What::HeardHello, 0, now);
                Some(Event::Greeted { hello, agreed: terms.offer.agree(&hello.offer) })
            }
            Frame::Beat => {
                self.log.record(What::HeardBeat, 0, now);
                None
            }
            Frame::Ping { token } => {
                self.log.record(What::HeardPing, 0, now);
                Some(Event::Asked { token })
            }
            Frame::Pong { token } => self.answered(token, now).map(Event::RoundTrip),
            Frame::End => {
                if self.session.flags.has(Flags::PEER_ENDED | Flags::PEER_LEFT | Flags::MORE) {
                    return Err(Malformed::Unexpected { frame: frame.name() });
                }
                self.session.flags.set(Flags::PEER_ENDED);
                self.log.record(What::HeardEnd, 0, now);
                Some(Event::End)
            }
            Frame::Bye(bye) => {
                if self.session.flags.has(Flags::PEER_LEFT) {
                    return Err(Malformed::Unexpected { frame: "a second BYE" });
                }
                self.session.flags.set(Flags::PEER_LEFT);
                self.log.record(What::HeardBye, bye.reason.number().into(), now);
                self.part_ways();
                Some(Event::Bye(bye))
            }
            Frame::Window { credit } => {
                if let Some(flow) = flow {
                    flow.credited(credit)?;
                }
                Some(Event::Credit)
            }
            Frame::Drain { back_in } => {
                self.log.record(What::HeardDrain, 0, now);
                Some(Event::Drain(back_in))
            }
            Frame::Reset(reason) => {
                self.log.record(What::HeardReset, reason.number().into(), now);
                self.session.flags.set(Flags::LOST);
                self.session.phase = Phase::Over;
                Some(Event::Reset(reason))
            }
        };
        Ok(event)
    }

    /// A PONG: its token is the time of the PING. A peer that makes up tokens deceives only itself.
    fn answered(&mut self, token: u32, now: Instant) -> Option<Duration> {
        /// A token that is older than this is none of ours.
        const OLDEST: u32 = 15 * 60 * 1_000_000;
        let rtt = micros(now).wrapping_sub(token);
        self.log.record(What::HeardPong, rtt, now);
        if rtt > OLDEST || !self.session.flags.has(Flags::ASKED) {
            return None;
        }
        self.session.flags.clear(Flags::ASKED | Flags::UNRESPONSIVE);
        self.session.rtt = rtt.max(1);
        Some(Duration::from_micros(rtt.into()))
    }

    /// Both sides go on: the session is up, and the peer may be silent for the agreed patience from now on. An acceptor
    /// appends its HELLO before.
    pub fn admit(&mut self, terms: &Terms, timing: Timing, random: &mut Random, now: Instant) {
        if self.session.phase != Phase::Greeted || self.session.has_left() {
            return;
        }
        self.session.phase = Phase::Up;
        self.session.since = seconds(now);
        self.session.interval = millis(timing.interval());
        *self.patience = millis_rounded_up(timing.tolerance());
        *self.heard = Stamp::of(now);
        // The first heartbeat measures the round trip, so it comes soon; not all at once after a restart.
        let soon = Duration::from_secs(1).min(self.wait(terms, random));
        *self.due = Stamp::of(now).after(random.between(Duration::ZERO, soon));
    }

    /// Appends the HELLO: a connector at once, an acceptor when it admits.
    pub fn hello(&mut self, hello: &Hello<'_>, now: Instant, out: &mut Vec<u8>) {
        Frame::Hello(*hello).encode(out);
        self.log.record(What::SentHello, 0, now);
    }

    /// The transport took bytes, so the next heartbeat is due later.
    #[inline]
    pub fn wrote(&mut self, terms: &Terms, random: &mut Random, now: Instant) {
        if self.session.is_up() {
            *self.due = Stamp::of(now).after(self.wait(terms, random));
        }
    }

    /// From one heartbeat to the next.
    fn wait(&self, terms: &Terms, random: &mut Random) -> Duration {
        let interval = self.session.interval();
        Timing::jittered(interval, random).saturating_sub(terms.lateness).max(Duration::from_millis(1))
    }

    /// Appends the heartbeat that is due. Says whether the peer turned out not to answer: a PING has been unanswered for
    /// the patience. That is told once until an answer comes.
    pub fn beat(&mut self, terms: &Terms, now: Instant, out: &mut Vec<u8>) -> Option<Duration> {
        if !self.session.is_up() {
            return None;
        }
        let every = terms.measure_every;
        let measure = every != 0 && self.session.beats.is_multiple_of(every);
        self.session.beats = if every == 0 { 0 } else { (self.session.beats + 1) % every };
        if measure {
            if !self.session.flags.has(Flags::ASKED) {
                self.session.flags.set(Flags::ASKED);
                self.session.asked = self.ticks(now);
            }
            Frame::Ping { token: micros(now) }.encode(out);
            self.log.record(What::SentPing, 0, now);
        } else {
            Frame::Beat.encode(out);
            self.log.record(What::SentBeat, 0, now);
        }
        self.unresponsive(now)
    }

    /// A heartbeat is due, and earlier bytes still wait to be written: they are a sign of life themselves.
    pub fn blocked(&mut self, terms: &Terms, random: &mut Random, now: Instant) -> Option<Duration> {
        self.log.record(What::Blocked, 0, now);
        self.wrote(terms, random, now);
        self.unresponsive(now)
    }

    fn unresponsive(&mut self, now: Instant) -> Option<Duration> {
        if !self.session.flags.has(Flags::ASKED) || self.session.flags.has(Flags::UNRESPONSIVE) {
            return None;
        }
        let ticks = self.ticks(now).wrapping_sub(self.session.asked);
        let waited = u32::from(ticks).saturating_mul(self.tick());
        if waited <= *self.patience {
            return None;
        }
        self.session.flags.set(Flags::UNRESPONSIVE);
        self.log.record(What::Unresponsive, 0, now);
        Some(Duration::from_millis(waited.into()))
    }

    /// The unit of [`Session::asked`], milliseconds: fine next to the patience, and 16 bits of it are many times that.
    fn tick(&self) -> u32 {
        (*self.patience / 1024).max(1)
    }

    fn ticks(&self, now: Instant) -> u16 {
        (Stamp::of(now).0 / self.tick()) as u16
    }

    /// Appends the answer to a PING.
    pub fn answer(&mut self, token: u32, now: Instant, out: &mut Vec<u8>) {
        if self.session.is_up() {
            Frame::Pong { token }.encode(out);
            self.log.record(What::SentPong, 0, now);
        }
    }

    /// Appends WINDOW.
    pub fn grant(&mut self, credit: u32, out: &mut Vec<u8>) {
        if self.session.is_up() {
            Frame::Window { credit }.encode(out);
        }
    }

    /// A DATA frame with `content` bytes is about to be written.
    pub fn sending(&mut self, content: u32, now: Instant) {
        self.log.record(What::SentData, content, now);
    }

    /// Appends END, unless this side has ended or left.
    pub fn end(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.session.is_up() && !self.session.flags.has(Flags::ENDED | Flags::LEFT) {
            self.session.flags.set(Flags::ENDED);
            Frame::End.encode(out);
            self.log.record(What::SentEnd, 0, now);
        }
    }

    /// Appends BYE, once. The session is over when both sides have said it; who has not been admitted is not waited for.
    pub fn bye(&mut self, bye: Bye, now: Instant, out: &mut Vec<u8>) {
        if self.session.flags.has(Flags::LEFT | Flags::LOST) {
            return;
        }
        self.session.flags.set(Flags::LEFT);
        Frame::Bye(bye).encode(out);
        self.log.record(What::SentBye, bye.reason.number().into(), now);
        self.part_ways();
    }

    fn part_ways(&mut self) {
        let flags = self.session.flags;
        if (flags.has(Flags::LEFT) && flags.has(Flags::PEER_LEFT)) || self.session.is_greeting() {
            self.session.phase = Phase::Over;
        }
    }

    /// Appends RESET: what is behind this side was lost. The session is over.
    pub fn reset(&mut self, reason: Reason, now: Instant, out: &mut Vec<u8>) {
        if self.session.is_up() {
            Frame::Reset(reason).encode(out);
            self.log.record(What::SentReset, reason.number().into(), now);
            self.session.flags.set(Flags::LOST);
            self.session.phase = Phase::Over;
        }
    }

    /// Appends DRAIN: the peer is to open another session after `back_in`.
    pub fn drain(&mut self, back_in: Duration, now: Instant, out: &mut Vec<u8>) {
        if self.session.is_up() && !self.session.has_left() {
            Frame::Drain { back_in }.encode(out);
            self.log.record(What::SentDrain, 0, now);
        }
    }

    /// The peer is lost: it was silent for too long, or the transport failed.
    pub fn lose(&mut self, now: Instant) {
        if !self.session.is_over() {
            self.session.flags.set(Flags::LOST);
            self.session.phase = Phase::Over;
            self.log.record(What::Lost, 0, now);
        }
    }

    /// How long the peer has been silent, if that is longer than its patience allows.
    pub fn silent(&self, now: Instant) -> Option<Duration> {
        let age = self.heard.age(Stamp::of(now));
        // Whole milliseconds were cut off at both ends: one more makes up for the first.
        let over = age > 0 && age.cast_unsigned() > *self.patience && !self.session.is_over();
        over.then(|| Duration::from_millis(age.cast_unsigned().into()))
    }

    /// This process did not run for `paused`, until now (it was stopped, or the machine slept): nothing is held against
    /// the peer. What this side owes is still due.
    pub fn handle_pause(&mut self, paused: Duration, now: Instant) {
        let (stamp, paused) = (Stamp::of(now), millis_rounded_up(paused));
        let silent = self.heard.age(stamp).max(0).cast_unsigned();
        *self.heard = Stamp(stamp.0.wrapping_sub(silent.saturating_sub(paused)));
        let ticks = (paused / self.tick()) as u16;
        self.session.asked = self.session.asked.wrapping_add(ticks);
        self.log.record(What::Paused, paused, now);
    }

    /// The session's state.
    pub const fn session(&self) -> &Session {
        self.session
    }

    /// Which side this is.
    pub const fn role(&self) -> Role {
        self.session.role()
    }

    /// How long the peer may be silent; before the two have agreed, within what time its HELLO must come.
    pub const fn patience(&self) -> Duration {
        Duration::from_millis(*self.patience as u64)
    }

    /// When the next heartbeat is due.
    pub fn due(&self, now: Instant) -> Instant {
        self.due.instant(now)
    }
}
