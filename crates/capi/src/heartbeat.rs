//! One side of a session of deadpeer's protocol, driven by the caller's own loop.
//!
//! Bytes in, bytes out, no callbacks: nothing of C, and no exception of C++, ever runs inside a call.

use std::ffi::{CStr, c_char, c_int};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use library::protocol::{Bye, Config, Event, LIMIT, Malformed, NotSent, Reason};
use library::{Instant, Offer, Protocol, TimingError};

use crate::error::{Error, or, status};
use crate::handles::Handles;
use crate::plain::{Out, plain};
use crate::policy::{POLICIES, deadpeer_policy};

static HEARTBEATS: Handles<Heartbeat> = Handles::new("heartbeat");
/// The origin of all heartbeats' times. `CLOCK_MONOTONIC`: it stands still while the machine sleeps.
static START: LazyLock<Clock> = LazyLock::new(Clock::now);

/// With this much waiting to be written, messages are refused, and beats and answers left out: what waits
/// proves the same when it arrives.
const MOST_WAITING: usize = 4 * LIMIT as usize;

/// What `deadpeer_heartbeat_poll` tells.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum deadpeer_event_kind {
    /// Nothing.
    None = 0,
    /// The peer greeted, and the two agreed. `data`: who the peer says it is. `us`: from now on the peer is
    /// lost when nothing is heard for this long.
    Up = 1,
    /// A message: `data`.
    Message = 2,
    /// The round-trip time between the two applications: `us`.
    RoundTrip = 3,
    /// The peer sends no more messages, and goes on beating.
    End = 4,
    /// The peer leaves. `reason`; `us`: when it wants to be connected again, 0 leaves it open. Say
    /// `deadpeer_heartbeat_bye` in turn, write it, and close.
    Bye = 5,
    /// The peer is lost: nothing was heard for `us`. Close the connection.
    Lost = 6,
}

/// Why a side leaves.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "for C to use")]
pub enum deadpeer_reason {
    /// It is done.
    Done = 0,
    /// It restarts.
    Restarting = 1,
    /// It has too many sessions, or too much to do.
    Overloaded = 2,
    /// With what the other side offers, a death would go unnoticed for too long.
    TooSlow = 3,
    /// The other side sent what it may not.
    Malformed = 4,
    /// The other side is not who it has to be.
    Refused = 5,
}

/// Something that happened.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct deadpeer_event {
    /// `sizeof(deadpeer_event)`, set by the caller; what was filled in, set by the library.
    pub size: usize,
    /// What it is.
    pub kind: deadpeer_event_kind,
    /// Why the peer leaves: a `deadpeer_reason`, or a number that this version does not know.
    pub reason: c_int,
    /// A time, microseconds: see the kind.
    pub us: i64,
    /// Bytes: see the kind. They stay until the next call with this heartbeat; no zero follows them.
    pub data: *const u8,
    /// How many.
    pub length: usize,
}

plain!(deadpeer_event, ends with length: usize);

/// A heartbeat: see `deadpeer_heartbeat_open`.
#[derive(Debug)]
pub struct deadpeer_heartbeat {
    _nothing_to_see: (),
}

struct Heartbeat {
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

impl Heartbeat {
    fn poll(&mut self) -> Result<Option<deadpeer_event>, Error> {
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

    fn waiting(&self) -> &[u8] {
        &self.output[self.written..]
    }

    fn deadline_ms(&self) -> c_int {
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

fn told(event: Event<'_>) -> deadpeer_event {
    let mut told = deadpeer_event {
        size: 0,
        kind: deadpeer_event_kind::None,
        reason: 0,
        us: 0,
        data: std::ptr::null(),
        length: 0,
    };
    let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let mut bytes: &[u8] = &[];
    match event {
        Event::Up { timing, id } => {
            (told.kind, told.us, bytes) = (deadpeer_event_kind::Up, us(timing.tolerance()), id.as_bytes());
        }
        Event::Data(message) => (told.kind, bytes) = (deadpeer_event_kind::Message, message),
        Event::RoundTrip(time) => (told.kind, told.us) = (deadpeer_event_kind::RoundTrip, us(time)),
        Event::End => told.kind = deadpeer_event_kind::End,
        Event::Bye(bye) => {
            (told.kind, told.us) = (deadpeer_event_kind::Bye, us(bye.back_in));
            told.reason = bye.reason.number().into();
        }
        Event::Lost { silent } => (told.kind, told.us) = (deadpeer_event_kind::Lost, us(silent)),
        // `TooSlow` becomes a failure before it gets here.
        _ => {}
    }
    (told.data, told.length) = (bytes.as_ptr(), bytes.len());
    told
}

/// The caller's bytes, for as long as one call takes.
///
/// # Safety
/// `bytes` points to `length` bytes that nobody writes meanwhile, or is null.
unsafe fn slice<'b>(bytes: *const u8, length: usize) -> Result<&'b [u8], Error> {
    match (bytes.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Error::invalid(format_args!("the {length} bytes are a null pointer"))),
        (false, _) if length > isize::MAX as usize => {
            Err(Error::invalid(format_args!("{length} bytes are more than there can be")))
        }
        // SAFETY: as the caller promises.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(bytes, length) }),
    }
}

/// Starts one side of a session of deadpeer's own protocol: heartbeats, messages and a goodbye, over any byte
/// stream whose other end speaks it too. A heartbeat notices what no socket option can: a peer whose kernel
/// answers while its program hangs.
///
/// It owns no socket. The caller's loop, whatever it waits with:
///
/// 1. what arrived goes to `deadpeer_heartbeat_input`;
/// 2. then, and at the deadline, `deadpeer_heartbeat_poll` until it returns 0;
/// 3. `deadpeer_heartbeat_output` says what to write; `deadpeer_heartbeat_written` how much of it was;
/// 4. wait for the socket to be readable (and writable, if something is left), for
///    `deadpeer_heartbeat_next_deadline_ms` at most. Read before you poll: after a pause of your own program
///    the peer's beats wait in the socket.
///
/// The policy decides how often the two beat, and when silence is a loss. `id` says who this side is, in
/// UTF-8, at most 64 bytes; NULL: nobody.
///
/// Returns NULL on failure, as when no heartbeat can keep the policy. Free it with `deadpeer_heartbeat_free`.
///
/// # Safety
/// `id` is null or ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_heartbeat_open(
    policy: *const deadpeer_policy,
    id: *const c_char,
) -> *mut deadpeer_heartbeat {
    or(
        |_| std::ptr::null_mut(),
        || {
            let offer = POLICIES.with(policy, |policy| Offer::keeping(policy).map_err(Error::unreachable))?;
            let id = if id.is_null() {
                c""
            } else {
                // SAFETY: as the caller promises.
                unsafe { CStr::from_ptr(id) }
            };
            let id = id.to_str().map_err(|_| Error::invalid("the id is not UTF-8"))?;
            if id.contains(char::is_control) {
                return Err(Error::invalid("the id has control characters"));
            }
            let mut output = Vec::new();
            let protocol = Protocol::open(Config::new(offer), id, seed(), now(), &mut output);
            Ok(HEARTBEATS.insert(Heartbeat {
                protocol,
                input: Vec::new(),
                taken: 0,
                output,
                written: 0,
                left_out: Vec::new(),
                fed: false,
                refused: None,
            }))
        },
    )
}

/// Takes bytes that arrived from the peer, in any portions; they are copied. Then poll. Returns 0.
///
/// # Safety
/// `bytes` points to `length` bytes, or is null where `length` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_heartbeat_input(
    heartbeat: *mut deadpeer_heartbeat,
    bytes: *const u8,
    length: usize,
) -> c_int {
    status(|| {
        // SAFETY: as the caller promises.
        let bytes = unsafe { slice(bytes, length) }?;
        HEARTBEATS.with(heartbeat, |heartbeat| {
            if heartbeat.refused.is_none() {
                heartbeat.input.extend_from_slice(bytes);
                heartbeat.fed |= !bytes.is_empty();
            }
            Ok(0)
        })
    })
}

/// Tells what happened, one event a call, and decides what is to be sent now.
///
/// Returns 1 with `event` filled in, 0 when there is nothing more to tell. On failure the session can't go on:
/// the peer sent what it may not (`DEADPEER_STATUS_PROTOCOL`), or offers beats too slow for the policy
/// (`DEADPEER_STATUS_UNREACHABLE`). A goodbye that says so is in the output then: write it, and close.
///
/// # Safety
/// `event` is null or points to a structure whose `size` is right.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_heartbeat_poll(
    heartbeat: *mut deadpeer_heartbeat,
    event: *mut deadpeer_event,
) -> c_int {
    status(|| {
        // SAFETY: as the caller promises.
        let out = unsafe { Out::new(event) }?;
        HEARTBEATS.with(heartbeat, |heartbeat| {
            let event = heartbeat.poll()?;
            Ok(c_int::from(event.map(|event| out.fill(event)).is_some()))
        })
    })
}

/// What is to be written to the peer: sets `*bytes` and returns how many there are; 0 when nothing waits, and
/// on failure. They stay until the next call with this heartbeat.
///
/// # Safety
/// `bytes` is null or points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_heartbeat_output(
    heartbeat: *mut deadpeer_heartbeat,
    bytes: *mut *const u8,
) -> usize {
    or(
        |_| 0,
        || {
            if bytes.is_null() {
                return Err(Error::invalid("the place for the bytes is a null pointer"));
            }
            HEARTBEATS.with(heartbeat, |heartbeat| {
                let waiting = heartbeat.waiting();
                // SAFETY: not null, and as the caller promises.
                unsafe { bytes.write(waiting.as_ptr()) };
                Ok(waiting.len())
            })
        },
    )
}

/// The first `length` bytes of the output were written. Returns 0.
#[unsafe(no_mangle)]
pub extern "C" fn deadpeer_heartbeat_written(heartbeat: *mut deadpeer_heartbeat, length: usize) -> c_int {
    status(|| {
        HEARTBEATS.with(heartbeat, |heartbeat| {
            let waiting = heartbeat.waiting().len();
            if length > waiting {
                let text =
                    format_args!("{length} bytes can't have been written: only {waiting} were waiting");
                return Err(Error::invalid(text));
            }
            heartbeat.written += length;
            // Moved seldom: a peer that takes little at a time must not make this slow.
            if heartbeat.written * 2 >= heartbeat.output.len() {
                heartbeat.output.drain(..heartbeat.written);
                heartbeat.written = 0;
            }
            Ok(0)
        })
    })
}

/// Appends a message of at most 65536 bytes to the output. Returns 0; `DEADPEER_STATUS_PROTOCOL` before the
/// peer has greeted and after a goodbye; `DEADPEER_STATUS_FULL` while 256 KiB wait to be written.
///
/// # Safety
/// `bytes` points to `length` bytes, or is null where `length` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_heartbeat_send(
    heartbeat: *mut deadpeer_heartbeat,
    bytes: *const u8,
    length: usize,
) -> c_int {
    status(|| {
        // SAFETY: as the caller promises.
        let bytes = unsafe { slice(bytes, length) }?;
        HEARTBEATS.with(heartbeat, |heartbeat| {
            let waiting = heartbeat.waiting().len();
            if waiting >= MOST_WAITING {
                return Err(Error::full(format_args!("not sent: {waiting} bytes wait to be written")));
            }
            heartbeat.protocol.send(bytes, now(), &mut heartbeat.output).map_err(|error| match error {
                NotSent::TooLong { .. } => Error::invalid(error),
                _ => Error::protocol(error),
            })?;
            Ok(0)
        })
    })
}

/// Appends a goodbye: why (a `deadpeer_reason`), and when the peer may connect again, milliseconds; 0 leaves
/// that open. Write the output and close; or, where this side spoke first, read on until the peer's goodbye.
/// Returns 0.
#[unsafe(no_mangle)]
pub extern "C" fn deadpeer_heartbeat_bye(
    heartbeat: *mut deadpeer_heartbeat,
    reason: c_int,
    back_in_ms: u64,
) -> c_int {
    status(|| {
        let number = u8::try_from(reason)
            .map_err(|_| Error::invalid(format_args!("{reason} is no reason: 0 to 255")))?;
        let bye = Bye { reason: Reason::of(number), back_in: Duration::from_millis(back_in_ms) };
        HEARTBEATS.with(heartbeat, |heartbeat| {
            heartbeat.protocol.bye(bye, now(), &mut heartbeat.output);
            Ok(0)
        })
    })
}

/// When to poll if nothing arrives before: milliseconds from now, fit for poll(2), select(2) and epoll_wait(2).
/// `INT_MAX` when the session is over.
#[unsafe(no_mangle)]
pub extern "C" fn deadpeer_heartbeat_next_deadline_ms(heartbeat: *const deadpeer_heartbeat) -> c_int {
    status(|| HEARTBEATS.with(heartbeat, |heartbeat| Ok(heartbeat.deadline_ms())))
}

/// Frees a heartbeat, without a goodbye. NULL is allowed. Returns 0, or `DEADPEER_STATUS_INVALID`.
#[unsafe(no_mangle)]
pub extern "C" fn deadpeer_heartbeat_free(heartbeat: *mut deadpeer_heartbeat) -> c_int {
    status(|| HEARTBEATS.remove(heartbeat).map(|()| 0))
}
