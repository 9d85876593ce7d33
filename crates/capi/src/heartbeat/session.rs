//! One side of a session, with its bytes and its clock.

use std::ffi::c_int;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant as Clock, SystemTime, UNIX_EPOCH};

use deadpeer_core::session::{Bye, Failure, History, Incoming, NotSent, Offer, Role, Single, Terms};
use library::Instant;

use super::event::{deadpeer_event, deadpeer_event_kind, event, lost, told_only, up};
use crate::error::Error;

/// The origin of all heartbeats' times. `CLOCK_MONOTONIC`: it stands still while the machine sleeps.
static START: LazyLock<Clock> = LazyLock::new(Clock::now);

/// While this much waits to be written, messages are refused.
const MOST_WAITING: usize = 256 * 1024;

pub(super) struct Session {
    single: Single,
    /// The bytes of the last event.
    told: Vec<u8>,
    /// Something arrived since the last poll.
    fed: bool,
    /// Why nothing more is taken from the peer.
    refused: Option<Failure>,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::TooSlow(_) => Self::unreachable(failure),
            _ => Self::protocol(failure),
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
    /// Begins; a connector's greeting stands in the output.
    pub(super) fn open(offer: Offer, id: &str, role: Role) -> Self {
        let single = Single::new(role, Terms::new(offer), id, b"", seed(), now());
        Self { single, told: Vec::new(), fed: false, refused: None }
    }

    pub(super) fn input(&mut self, bytes: &[u8]) {
        if self.refused.is_none() && !bytes.is_empty() {
            let now = now();
            self.single.bytes_arrived(now);
            self.refused = self.single.input(bytes, now).err();
            self.fed = true;
        }
    }

    /// The next event; its bytes stay here until the next call.
    pub(super) fn poll(&mut self) -> Result<Option<deadpeer_event>, Error> {
        self.fed = false;
        while let Some(told) = self.single.next() {
            let event = match told {
                Incoming::Greeted(peer) => {
                    self.single.admit(now());
                    self.told = peer.id.clone().into_bytes();
                    Some(up(peer.timing))
                }
                Incoming::Up => self.single.peer().map(|peer| {
                    self.told = peer.id.clone().into_bytes();
                    up(peer.timing)
                }),
                Incoming::Message(message) => {
                    self.told = message;
                    Some(told_only(deadpeer_event_kind::Message))
                }
                Incoming::Bye(bye) => {
                    self.told = bye.text.as_str().into();
                    event(&Incoming::Bye(bye))
                }
                other => {
                    self.told.clear();
                    event(&other)
                }
            };
            if let Some(mut event) = event {
                (event.data, event.length) = (self.told.as_ptr(), self.told.len());
                self.fed = true; // perhaps more came behind it
                return Ok(Some(event));
            }
        }
        if let Some(refused) = self.refused {
            return Err(refused.into());
        }
        match self.single.poll(now()) {
            Ok(()) => Ok(None),
            Err(Failure::Silent { silent: time } | Failure::NoGreeting { within: time }) => {
                Ok(Some(lost(time)))
            }
            Err(failure) => {
                self.refused = Some(failure);
                Err(failure.into())
            }
        }
    }

    pub(super) fn waiting(&mut self) -> &[u8] {
        self.single.output(now())
    }

    pub(super) fn written(&mut self, length: usize) -> Result<(), Error> {
        let waiting = self.waiting().len();
        if length > waiting {
            let text = format_args!("{length} bytes can't have been written: only {waiting} were waiting");
            return Err(Error::invalid(text));
        }
        self.single.wrote(length, now());
        Ok(())
    }

    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let waiting = self.single.queued();
        if waiting >= MOST_WAITING {
            return Err(Error::full(format_args!("not sent: {waiting} bytes wait to be written")));
        }
        self.single.send(message).map_err(|error| match error {
            NotSent::TooLong { .. } => Error::invalid(error),
            _ => Error::protocol(error),
        })
    }

    pub(super) fn bye(&mut self, bye: Bye) {
        self.single.bye(bye);
    }

    pub(super) fn history(&self) -> (&History, Instant) {
        (self.single.history(), now())
    }

    pub(super) fn deadline_ms(&self) -> c_int {
        if self.fed {
            return 0;
        }
        let now = now();
        // Rounded up: a caller that wakes early finds nothing to do and wakes again.
        let wait = self.single.deadline(now).since(now).as_nanos().div_ceil(1_000_000);
        c_int::try_from(wait).unwrap_or(c_int::MAX)
    }
}
