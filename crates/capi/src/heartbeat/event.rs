//! What happened, as C sees it.

use std::ffi::{c_char, c_int};
use std::time::Duration;

use deadpeer_core::Timing;
use deadpeer_core::session::{Happened, Incoming};

use crate::plain::plain;

/// What `deadpeer_heartbeat_poll` tells.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "for C to use")]
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
    /// The peer leaves. `reason`; `us`: when it wants to be connected again, 0 leaves it open; `data`: a text for its
    /// operator. Once everything that waits is sent, the answer stands in the output by itself: write it, and close.
    Bye = 5,
    /// The peer is lost: nothing arrived for `us`. Close the connection.
    Lost = 6,
    /// The peer lost what is behind it: what it sent is incomplete. `reason`. Close the connection.
    Reset = 7,
    /// The peer asks for another session, `us` from now. This one goes on.
    Drain = 8,
    /// The peer's bytes arrive, and it has not answered for `us`: its program may hang while its kernel sends what it had
    /// written. It is not dead.
    Unresponsive = 9,
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
    /// It refuses the other side.
    Refused = 5,
    /// It lost what is behind it.
    Lost = 6,
    /// A newer session of the same name replaces this one.
    Replaced = 7,
    /// The other side did not prove who it is.
    Unauthorised = 8,
    /// It does not know the target that the other side asked for.
    UnknownTarget = 9,
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

/// Which side of the connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "for C to use")]
pub enum deadpeer_role {
    /// The side that connected. It greets first.
    Connector = 0,
    /// The side that accepted the connection.
    Acceptor = 1,
}

/// An event without bytes, reason and time.
pub(super) const fn told_only(kind: deadpeer_event_kind) -> deadpeer_event {
    deadpeer_event { size: 0, kind, reason: 0, us: 0, data: std::ptr::null(), length: 0 }
}

fn with_time(kind: deadpeer_event_kind, time: Duration) -> deadpeer_event {
    deadpeer_event { us: micros(time), ..told_only(kind) }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn up(timing: Timing) -> deadpeer_event {
    with_time(deadpeer_event_kind::Up, timing.tolerance())
}

pub(super) fn lost(silent: Duration) -> deadpeer_event {
    with_time(deadpeer_event_kind::Lost, silent)
}

/// What is told of the others; `None` for what has no event.
pub(super) fn event(told: &Incoming) -> Option<deadpeer_event> {
    use deadpeer_event_kind as Kind;
    Some(match told {
        Incoming::RoundTrip(time) => with_time(Kind::RoundTrip, *time),
        Incoming::End => told_only(Kind::End),
        Incoming::Bye(bye) => {
            deadpeer_event { reason: bye.reason.number().into(), ..with_time(Kind::Bye, bye.back_in) }
        }
        Incoming::Reset(reason) => {
            deadpeer_event { reason: reason.number().into(), ..told_only(Kind::Reset) }
        }
        Incoming::Drain(back_in) => with_time(Kind::Drain, *back_in),
        Incoming::Unresponsive(time) => with_time(Kind::Unresponsive, *time),
        _ => return None,
    })
}

/// Something that happened in a session, for `deadpeer_heartbeat_events`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct deadpeer_happened {
    /// What: "heard-beat", "sent-ping" …, with a zero at its end.
    pub what: [c_char; 24],
    /// How long ago, microseconds.
    pub ago_us: i64,
    /// The number of bytes of data, the number of a reason, or the microseconds of a round trip.
    pub count: u32,
}

impl From<Happened> for deadpeer_happened {
    fn from(happened: Happened) -> Self {
        let mut what = [0; 24];
        // One place stays zero.
        let bytes = happened.what.as_str().bytes().take(what.len() - 1);
        for (place, byte) in what.iter_mut().zip(bytes) {
            *place = byte as c_char;
        }
        Self { what, ago_us: micros(happened.ago), count: happened.count }
    }
}
