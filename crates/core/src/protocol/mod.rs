//! The small protocol for programs that have none of their own: heartbeats, messages, and a goodbye.
//!
//! Bytes in, bytes out: it knows no socket and no clock, and buffers nothing. The loop around it:
//!
//! - what arrived goes to [`handle_input`](Protocol::handle_input) again and again, until that takes no more;
//!   what it did not take comes again with what arrives next;
//! - at the [`deadline`](Protocol::deadline), and after each input, [`poll`](Protocol::poll) tells of losses
//!   and appends what is to be sent: answers, beats;
//! - [`send`](Protocol::send), [`end`](Protocol::end), [`bye`](Protocol::bye) append what the program says.
//!
//! What is appended is to be written before time goes on; while the peer takes nothing, don't poll for more.
//!
//! Each side beats on its own schedule, as the two HELLOs agree ([`Offer`]); only pings that ask for a
//! round-trip time are answered. So an idle session costs a server as few sends as its promise allows.
//!
//! The bytes are described in `docs/protocol.md`.

mod dialogue;
mod frame;
mod hello;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::heartbeat::{Beat, Heartbeat, Timing, TimingError};
use crate::instant::Instant;
pub use dialogue::Dialogue;
pub use frame::{Bye, DATA_HEADER, Frame, Head, LIMIT, Malformed, Reason, VERSION};
pub use hello::{Hello, Offer};

/// How a side takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What it offers.
    pub offer: Offer,
    /// A message of either side may have so many bytes.
    pub limit: u32,
    /// The peer's HELLO must come within this.
    pub greeting: Duration,
    /// Each so-manieth beat asks for the round-trip time; 0 for none.
    pub measure_every: u8,
}

impl Config {
    /// The default around an offer: messages of [`LIMIT`], a greeting within 10 s, each sixth beat a ping.
    pub const fn new(offer: Offer) -> Self {
        Self { offer, limit: LIMIT, greeting: Duration::from_secs(10), measure_every: 6 }
    }
}

/// One side of a session.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::protocol::{Config, Event, Offer, Protocol};
/// use deadpeer_core::{Instant, Policy};
///
/// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
/// let config = Config::new(Offer::keeping(&policy)?);
/// let now = Instant::default();
/// let (mut to_bob, mut to_alice) = (Vec::new(), Vec::new());
/// let mut alice = Protocol::open(config, "alice", 1, now, &mut to_bob);
/// let mut bob = Protocol::open(config, "bob", 2, now, &mut to_alice);
///
/// let (taken, event) = bob.handle_input(&to_bob, now)?;
/// assert_eq!(taken, to_bob.len());
/// assert!(matches!(event, Some(Event::Up { id: "alice", .. })));
/// alice.handle_input(&to_alice, now)?;
///
/// to_bob.clear();
/// alice.send(b"hello, Bob", now, &mut to_bob)?;
/// assert_eq!(bob.handle_input(&to_bob, now)?.1, Some(Event::Data(b"hello, Bob")));
///
/// // Alice's host loses power.
/// let later = now.after(Duration::from_secs(9));
/// let lost = bob.poll(later, &mut to_alice);
/// assert_eq!(lost, Some(Event::Lost { silent: Duration::from_secs(9) }));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Protocol {
    config: Config,
    heartbeat: Heartbeat,
    dialogue: Dialogue,
    /// Pings to answer: the last one is enough.
    answer: Option<u32>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'b> {
    /// The peer's HELLO came and suits.
    Up {
        /// What was agreed: how often this side sends, and how long it waits.
        timing: Timing,
        /// Who the peer says it is; may be empty.
        id: &'b str,
    },
    /// The peer's HELLO came, and with it a death would go unnoticed for too long: say BYE
    /// ([`Reason::TooSlow`]).
    TooSlow(TimingError),
    /// A ping came back.
    RoundTrip(Duration),
    /// A message.
    Data(&'b [u8]),
    /// The peer sends no more messages.
    End,
    /// The peer leaves.
    Bye(Bye),
    /// The peer's beats have stopped.
    Lost {
        /// Nothing was heard for this long.
        silent: Duration,
    },
}

impl Protocol {
    /// Starts a session, and appends the HELLO. An `id` of more than 64 bytes is cut. `seed` makes the jitter
    /// of the beats: give each session another one.
    pub fn open(config: Config, id: &str, seed: u64, now: Instant, out: &mut Vec<u8>) -> Self {
        Frame::Hello(Hello { offer: config.offer, id }).encode(out);
        // Until the peer's HELLO nothing is owed, and the greeting's time runs.
        let greeting = config.greeting.clamp(Timing::SHORTEST, Timing::LONGEST);
        let heartbeat = Heartbeat::new(Timing::greeting(greeting), seed, now);
        Self { config, heartbeat, dialogue: Dialogue::new(), answer: None }
    }

    /// Takes one frame from what arrived; says how many bytes it took, and what they mean. Zero bytes taken:
    /// the rest of the frame is still to come.
    ///
    /// # Errors
    /// [`Malformed`]: the connection can't go on; say BYE and close.
    pub fn handle_input<'b>(
        &mut self,
        bytes: &'b [u8],
        now: Instant,
    ) -> Result<(usize, Option<Event<'b>>), Malformed> {
        if let Some(kind) = bytes.first() {
            self.dialogue.expect(*kind)?;
        }
        let Some((frame, taken)) = Frame::decode(bytes, self.config.limit)? else { return Ok((0, None)) };
        self.heartbeat.handle_heard(now);
        self.dialogue.admit(&frame)?;
        let event = match frame {
            Frame::Hello(hello) => Some(self.greeted(hello, now)),
            Frame::Beat => None,
            Frame::Ping { token } => {
                self.answer = Some(token);
                None
            }
            Frame::Pong { token } => self.heartbeat.handle_echo(token, now).map(Event::RoundTrip),
            Frame::Data(message) => Some(Event::Data(message)),
            Frame::End => Some(Event::End),
            Frame::Bye(bye) => Some(Event::Bye(bye)),
        };
        Ok((taken, event))
    }

    fn greeted<'b>(&mut self, hello: Hello<'b>, now: Instant) -> Event<'b> {
        match self.config.offer.agree(&hello.offer) {
            Ok(timing) => {
                self.heartbeat.change(timing, now);
                self.dialogue.agree();
                Event::Up { timing, id: hello.id }
            }
            Err(error) => Event::TooSlow(error),
        }
    }

    /// Tells of a loss, and appends what is to be sent now: an answer, a beat.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Event<'static>> {
        if self.dialogue.is_over() {
            return None;
        }
        let before = out.len();
        if let Some(token) = self.answer.take() {
            Frame::Pong { token }.encode(out);
        }
        if before < out.len() {
            self.heartbeat.handle_sent(now);
        }
        match self.heartbeat.poll(now)? {
            Beat::Lost { silent } => {
                self.dialogue.lose();
                out.truncate(before);
                Some(Event::Lost { silent })
            }
            Beat::Ping { token } => {
                if let Some(beat) = self.dialogue.beat(self.config.measure_every, token) {
                    beat.encode(out);
                }
                self.heartbeat.handle_sent(now);
                None
            }
        }
    }

    /// Appends a message. It replaces a beat.
    ///
    /// # Errors
    /// [`NotSent`]: nothing was appended.
    pub fn send(&mut self, message: &[u8], now: Instant, out: &mut Vec<u8>) -> Result<(), NotSent> {
        let limit = self.config.limit;
        if self.dialogue.is_greeting() {
            return Err(NotSent::NotUp);
        }
        if !self.dialogue.is_up() {
            return Err(NotSent::Left);
        }
        if self.dialogue.has_ended() {
            return Err(NotSent::Ended);
        }
        if message.len() > limit as usize {
            return Err(NotSent::TooLong { length: message.len(), limit });
        }
        Frame::Data(message).encode(out);
        self.heartbeat.handle_sent(now);
        Ok(())
    }

    /// Appends that this side sends no more messages. It goes on beating, and hears the peer's messages.
    pub fn end(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.dialogue.end() {
            Frame::End.encode(out);
            self.heartbeat.handle_sent(now);
        }
    }

    /// Appends a goodbye. What the peer has sent until its own goodbye still arrives; then close.
    pub fn bye(&mut self, bye: Bye, now: Instant, out: &mut Vec<u8>) {
        if self.dialogue.leave() {
            Frame::Bye(bye).encode(out);
            self.heartbeat.handle_sent(now);
        }
    }

    /// When to poll if nothing arrives before.
    pub fn deadline(&self) -> Instant {
        if self.dialogue.is_over() { Instant::NEVER } else { self.heartbeat.deadline() }
    }

    /// This process did not run for `paused`, until now: see [`Heartbeat::handle_pause`].
    pub fn handle_pause(&mut self, now: Instant, paused: Duration) {
        self.heartbeat.handle_pause(now, paused);
    }

    /// This side reads nothing at present, because its program takes nothing: who doesn't read can't hear, so
    /// the peer's silence proves nothing. Call it at each deadline while that lasts; beats go on.
    pub fn handle_deaf(&mut self, now: Instant) {
        self.heartbeat.handle_heard(now);
    }

    /// Whether the two have agreed and neither has left.
    pub fn is_up(&self) -> bool {
        self.dialogue.is_up()
    }

    /// Whether nothing more will come and nothing more may be said: close the connection.
    pub fn is_over(&self) -> bool {
        self.dialogue.is_over()
    }

    /// For how long nothing was heard.
    pub fn silent(&self, now: Instant) -> Duration {
        self.heartbeat.silent(now)
    }
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotSent {
    /// The peer has not greeted yet.
    NotUp,
    /// This side has said that it sends no more.
    Ended,
    /// One side has left.
    Left,
    /// It is longer than the limit.
    TooLong {
        /// Its bytes.
        length: usize,
        /// The most that it may have.
        limit: u32,
    },
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUp => f.write_str("not sent: the peer has not greeted yet"),
            Self::Ended => f.write_str("not sent: this side has ended its messages"),
            Self::Left => f.write_str("not sent: the session is over"),
            Self::TooLong { length, limit } => {
                write!(f, "not sent: the message has {length} bytes, the limit is {limit}")
            }
        }
    }
}

impl core::error::Error for NotSent {}
