//! What happened, as C sees it.

use std::ffi::c_int;
use std::time::Duration;

use library::protocol::Event;

use crate::plain::plain;

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

pub(super) fn told(event: Event<'_>) -> deadpeer_event {
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
