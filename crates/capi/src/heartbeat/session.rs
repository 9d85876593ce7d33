//! One side of a session, with its bytes and its clock.

use std::ffi::c_int;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use library::protocol::{Bye, Config, Event, LIMIT, Malformed, NotSent, Reason};
use library::{Instant, Offer, Protocol, TimingError};

use super::event::{deadpeer_event, told};
use crate::error::Error;

/// The origin of all heartbeats' times. `CLOCK_MONOTONIC`: it stands still while the machine sleeps.
static START: LazyLock<Clock> = LazyLock::new(Clock::now);

/// With this much waiting to be written, messages are refused, and beats and answers left out: what waits
/// proves the same when it arrives.
const MOST_WAITING: usize = 4 * LIMIT as usize;

pub(super) struct Session {
    protocol: Protocol,
    /// What arrived; `taken` of it has been told.
    input: Vec<u8>,
    taken: usize,
    /// What is to be written; `written` of it is.
    output: Vec<u8>,
    written: usize,
    /// Scratch for what is left out.
    left_out: Vec<u8>,
    /// Something arrived since the last poll.
    fed: bool,
    /// Why nothing more is taken from the peer.
    refused: Option<Refused>,
}

#[derive(Clone, Copy)]
enum Refused {
    Malformed(Malformed),
    TooSlow(TimingError),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(error) => Self::protocol(error),
            Refused::TooSlow(error) => Self::unreachable(format_args!("with what the peer offers, {error}")),
        }
    }
}

fn now() -> Instant {
    Instant::from_origin(START.elapsed())
}

/// Another one for each heartbeat, and in each process: the beats of thousands must not fall together.
fn seed() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    clock ^ (u64::from(std::process::id()) << 32) ^ NEXT.fetch_add(1, Ordering::Relaxed).rotate_right(16)
}

impl Session {
    /// Begins with the greeting in its output.
    pub(super) fn open(offer: Offer, id: &str) -> Self {
        let mut output = Vec::new();
        let protocol = Protocol::open(Config::new(offer), id, seed(), now(), &mut output);
        Self {
            protocol,
            input: Vec::new(),
            taken: 0,
            output,
            written: 0,
            left_out: Vec::new(),
            fed: false,
            refused: None,
        }
    }

    pub(super) fn input(&mut self, bytes: &[u8]) {
        if self.refused.is_none() {
            self.input.extend_from_slice(bytes);
            self.fed |= !bytes.is_empty();
        }
    }

    pub(super) fn poll(&mut self) -> Result<Option<deadpeer_event>, Error> {
        // Only now: the last event's bytes stood there.
        self.input.drain(..self.taken);
        self.taken = 0;
        self.fed = false;
        if let Some(refused) = self.refused {
            return Err(refused.into());
        }
        let now = now();
        loop {
            let told = match self.protocol.handle_input(&self.input[self.taken..], now) {
                Ok((0, _)) => break,
                Ok((_, Some(Event::TooSlow(error)))) => Err(Refused::TooSlow(error)),
                Ok((taken, event)) => Ok((taken, event.map(told))),
                Err(error) => Err(Refused::Malformed(error)),
            };
            match told {
                Ok((taken, event)) => {
                    self.taken += taken;
                    if event.is_some() {
                        self.fed = true; // perhaps more came behind it
                        return Ok(event);
                    }
                }
                Err(refused) => return Err(self.refuse(refused, now)),
            }
        }
        let full = self.waiting().len() >= MOST_WAITING;
        let event = self.protocol.poll(now, if full { &mut self.left_out } else { &mut self.output });
        self.left_out.clear();
        Ok(event.map(told))
    }

    /// The peer is told why; what it sends from now on is not looked at.
    fn refuse(&mut self, refused: Refused, now: Instant) -> Error {
        let reason = match refused {
            Refused::Malformed(_) => Reason::Malformed,
            Refused::TooSlow(_) => Reason::TooSlow,
        };
        self.protocol.bye(Bye { reason, back_in: Duration::ZERO }, now, &mut self.output);
        self.refused = Some(refused);
        refused.into()
    }

    pub(super) fn waiting(&self) -> &[u8] {
        &self.output[self.written..]
    }

    pub(super) fn written(&mut self, length: usize) -> Result<(), Error> {
        let waiting = self.waiting().len();
        if length > waiting {
            let text = format_args!("{length} bytes can't have been written: only {waiting} were waiting");
            return Err(Error::invalid(text));
        }
        self.written += length;
        // Moved seldom: a peer that takes little at a time must not make this slow.
        if self.written * 2 >= self.output.len() {
            self.output.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let waiting = self.waiting().len();
        if waiting >= MOST_WAITING {
            return Err(Error::full(format_args!("not sent: {waiting} bytes wait to be written")));
        }
        self.protocol.send(message, now(), &mut self.output).map_err(|error| match error {
            NotSent::TooLong { .. } => Error::invalid(error),
            _ => Error::protocol(error),
        })
    }

    pub(super) fn bye(&mut self, bye: Bye) {
        self.protocol.bye(bye, now(), &mut self.output);
    }

    pub(super) fn deadline_ms(&self) -> c_int {
        if self.fed {
            return 0;
        }
        if self.refused.is_some() {
            return c_int::MAX;
        }
        // Rounded up: whoever wakes early finds nothing to do and wakes again.
        let wait = self.protocol.deadline().since(now()).as_nanos().div_ceil(1_000_000);
        c_int::try_from(wait).unwrap_or(c_int::MAX)
    }
}
