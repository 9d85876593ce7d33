//! What is wanted.

use std::ffi::c_int;
use std::time::Duration;

use library::Policy;

use crate::error::{Error, or, status};
use crate::handles::Handles;
use crate::plain::{self, plain};

pub(crate) static POLICIES: Handles<Policy> = Handles::new("policy");

/// What is wanted of a connection; the input of `deadpeer_policy_new`. Set what you don't want to 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct deadpeer_goals {
    /// `sizeof(deadpeer_goals)`.
    pub size: usize,
    /// A death is noticed within this time, milliseconds. Needed.
    pub detect_ms: u64,
    /// An outage this long must not end a healthy connection, milliseconds; 0: a third of `detect_ms`.
    pub survive_ms: u64,
    /// A NAT or firewall on the way forgets connections that are idle for this long, milliseconds; 0: none
    /// does.
    pub mapping_timeout_ms: u64,
    /// Upper bound for probes and their answers on an idle connection, bytes of IP packets; 0: none.
    pub bytes_per_day: u64,
    /// Not 0: the peer may keep its window shut for long and must live. This forbids a user timeout, so on Linux
    /// nothing but `accept_rto_ceiling` bounds data in flight.
    pub slow_readers: c_int,
    /// Not read: where the first version of this structure ended, a program may have anything.
    pub reserved: c_int,
    /// Not 0: a socket may get an RTO ceiling (TCP_RTO_MAX_MS, Linux 6.15), which bounds data in flight and spares
    /// slow readers. Data that was written before close() is then lost in an outage of a few seconds, or while
    /// the peer reads nothing, unless you call `deadpeer_before_close`; shorter outages end connections; and
    /// a congested link sees more retransmissions.
    pub accept_rto_ceiling: c_int,
    /// Not 0: where the system can't keep `detect_ms` in every state, `deadpeer_apply` does what it can, and what
    /// falls short is no error.
    pub best_effort: c_int,
}

plain!(deadpeer_goals, ends with slow_readers: c_int);

/// Makes a policy of what is wanted. One that contradicts itself can't be made.
///
/// A policy is never changed: share it between threads and connections, and free it with
/// `deadpeer_policy_free`.
///
/// Returns NULL on failure: `deadpeer_last_error()` says what contradicts what.
///
/// # Safety
/// `goals` is null or points to a structure whose `size` is right.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_policy_new(goals: *const deadpeer_goals) -> *mut deadpeer_policy {
    or(
        |_| std::ptr::null_mut(),
        || {
            // SAFETY: as the caller promises; the fields are numbers, so any bytes are valid.
            let goals = unsafe { plain::read(goals, deadpeer_goals::default()) }?;
            Ok(POLICIES.insert(policy(&goals)?))
        },
    )
}

/// Frees a policy. NULL is allowed. Whatever was made with the policy lives on. Returns 0, or
/// `DEADPEER_STATUS_INVALID`.
#[unsafe(no_mangle)]
pub extern "C" fn deadpeer_policy_free(policy: *mut deadpeer_policy) -> c_int {
    status(|| POLICIES.remove(policy).map(|()| 0))
}

/// A policy: see `deadpeer_policy_new`.
#[derive(Debug)]
pub struct deadpeer_policy {
    _nothing_to_see: (),
}

fn policy(goals: &deadpeer_goals) -> Result<Policy, Error> {
    if goals.detect_ms == 0 {
        return Err(Error::invalid(
            "deadpeer_goals.detect_ms is 0: say within which time a death is noticed",
        ));
    }
    let wanted = |ms: u64| (ms != 0).then_some(Duration::from_millis(ms));
    let mut builder = Policy::detect(Duration::from_millis(goals.detect_ms));
    if let Some(outage) = wanted(goals.survive_ms) {
        builder = builder.survive(outage);
    }
    if let Some(idle) = wanted(goals.mapping_timeout_ms) {
        builder = builder.mapping_timeout(idle);
    }
    if goals.bytes_per_day != 0 {
        builder = builder.bytes_per_day(goals.bytes_per_day);
    }
    builder
        .slow_readers(goals.slow_readers != 0)
        .accept_rto_ceiling(goals.accept_rto_ceiling != 0)
        .best_effort(goals.best_effort != 0)
        .build()
        .map_err(Error::unreachable)
}
