//! One side of a session of deadpeer's protocol, driven by the caller's own loop.
//!
//! Bytes in, bytes out, no callbacks: nothing of C, and no exception of C++, ever runs inside a call.

mod event;
mod session;

use std::ffi::{CStr, c_char, c_int};
use std::time::Duration;

use deadpeer_core::session::{Bye, Offer, Reason, Role};

use crate::error::{Error, or, status};
use crate::handles::Handles;
use crate::plain::Out;
use crate::policy::{POLICIES, deadpeer_policy};
pub use event::*;
use session::Session;

static HEARTBEATS: Handles<Session> = Handles::new("heartbeat");

/// A heartbeat: see `deadpeer_heartbeat_open`.
#[derive(Debug)]
pub struct deadpeer_heartbeat {
    _nothing_to_see: (),
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
/// UTF-8, at most 64 bytes; NULL: nobody. `role` is a `deadpeer_role`: the side that connected greets first.
///
/// Returns NULL on failure, as when no heartbeat can keep the policy. Free it with `deadpeer_heartbeat_free`.
///
/// # Safety
/// `id` is null or ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_heartbeat_open(
    policy: *const deadpeer_policy,
    id: *const c_char,
    role: c_int,
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
            let role = match role {
                0 => Role::Connector,
                1 => Role::Acceptor,
                other => return Err(Error::invalid(format_args!("{other} is no deadpeer_role"))),
            };
            Ok(HEARTBEATS.insert(Session::open(offer, id, role)))
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
            heartbeat.input(bytes);
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
            heartbeat.written(length)?;
            Ok(0)
        })
    })
}

/// Queues a message. Returns 0; `DEADPEER_STATUS_INVALID` for a message that is longer than the peer accepts;
/// `DEADPEER_STATUS_PROTOCOL` before the peer has greeted and after a goodbye; `DEADPEER_STATUS_FULL` while 256 KiB wait to be
/// written, because the connection or the peer's program takes no more.
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
            heartbeat.send(bytes)?;
            Ok(0)
        })
    })
}

/// Says goodbye once everything that is queued is sent: why (a `deadpeer_reason`), and when the peer may connect again,
/// milliseconds; 0 leaves that open. Write the output and read on until the peer's goodbye; then close. Returns 0.
#[unsafe(no_mangle)]
pub extern "C" fn deadpeer_heartbeat_bye(
    heartbeat: *mut deadpeer_heartbeat,
    reason: c_int,
    back_in_ms: u64,
) -> c_int {
    status(|| {
        let number = u8::try_from(reason)
            .map_err(|_| Error::invalid(format_args!("{reason} is no reason: 0 to 255")))?;
        let bye = Bye::new(Reason::of(number)).back_in(Duration::from_millis(back_in_ms));
        HEARTBEATS.with(heartbeat, |heartbeat| {
            heartbeat.bye(bye);
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

/// The last events of the session, the oldest first: fills `events`, which has room for `most`, and returns how many it
/// filled in, at most 32. After a loss they tell what was sent and heard before.
///
/// # Safety
/// `events` points to room for `most` structures, or is null where `most` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_heartbeat_events(
    heartbeat: *const deadpeer_heartbeat,
    events: *mut deadpeer_happened,
    most: usize,
) -> c_int {
    status(|| {
        if events.is_null() && most > 0 {
            return Err(Error::invalid("the place for the events is a null pointer"));
        }
        HEARTBEATS.with(heartbeat, |heartbeat| {
            let (history, now) = heartbeat.history();
            let skipped = history.len().saturating_sub(most);
            let mut count = 0;
            for happened in history.events(now).skip(skipped) {
                // SAFETY: `count` is below `most`, and the caller promises room for as many.
                unsafe { events.add(count).write(happened.into()) };
                count += 1;
            }
            Ok(count as c_int)
        })
    })
}

/// Frees a heartbeat, without a goodbye. NULL is allowed. Returns 0, or `DEADPEER_STATUS_INVALID`.
#[unsafe(no_mangle)]
pub extern "C" fn deadpeer_heartbeat_free(heartbeat: *mut deadpeer_heartbeat) -> c_int {
    status(|| HEARTBEATS.remove(heartbeat).map(|()| 0))
}
