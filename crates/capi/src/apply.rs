//! A policy, applied to a socket.

use std::ffi::{c_char, c_int};
use std::time::Duration;

use library::{Amount, Applied, ApplyError, Gap, Plan, apply, before_close, detection, platform};

use crate::error::{Error, status};
use crate::plain::{Out, deadpeer_range, millis, plain, text};
use crate::policy::{POLICIES, deadpeer_policy};
use crate::socket::{borrow, deadpeer_socket_t};

/// The most gaps that a `deadpeer_applied` has room for: one for each option that is set.
pub const DEADPEER_GAPS: usize = 8;

/// An option that the system did not take as it was wanted.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct deadpeer_gap {
    /// The system's name of the option: "TCP_USER_TIMEOUT".
    pub option: [c_char; 32],
    /// What was wanted, milliseconds; 0 for "off". Of a number of probes, how many.
    pub wanted_ms: i64,
    /// What the socket has instead, or `DEADPEER_UNKNOWN`.
    pub got_ms: i64,
    /// The error number that setting it met, or 0.
    pub error: c_int,
}

/// What a socket has after `deadpeer_apply`, read back from the system.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct deadpeer_applied {
    /// `sizeof(deadpeer_applied)`, set by the caller; what was filled in, set by the library.
    pub size: usize,
    /// The first keepalive probe comes after this much silence; 0: keepalive is off.
    pub keepalive_idle_ms: i64,
    /// The distance of the following probes.
    pub keepalive_interval_ms: i64,
    /// So many of them are sent.
    pub keepalive_probes: i64,
    /// The bound on unacknowledged data (TCP_USER_TIMEOUT); 0: none.
    pub user_timeout_ms: i64,
    /// The largest distance of retransmissions (TCP_RTO_MAX_MS), where a socket has one of its own (Linux
    /// 6.15); else 0 or `DEADPEER_UNKNOWN`.
    pub rto_max_ms: i64,
    /// How long a silent peer goes unnoticed while nothing is in flight.
    pub idle: deadpeer_range,
    /// How long it does when data was sent, counted from sending, on a path with a round trip of up to 300 ms.
    pub in_flight: deadpeer_range,
    /// So many entries of `gaps` are set.
    pub gap_count: usize,
    /// What the system did not take.
    pub gaps: [deadpeer_gap; DEADPEER_GAPS],
}

plain!(deadpeer_applied, ends with gaps: [deadpeer_gap; DEADPEER_GAPS]);

/// Plans a policy for this system, applies it to a TCP socket, and reads back what the system took.
///
/// Sockets that a listener accepts later inherit the settings from it on Linux; those that it has accepted
/// already do not. `applied` may be NULL where only the number of gaps matters.
///
/// Returns the number of gaps: 0 when the system took all of it. Negative: nothing can keep this policy here, or
/// what the socket has now keeps less than the policy wants (`DEADPEER_STATUS_UNREACHABLE`: the settings stay, and
/// `applied` is filled in); or the socket takes no such settings (`DEADPEER_STATUS_SYSTEM`). With
/// `deadpeer_goals.best_effort` what falls short is no error: `applied` says what the socket keeps.
///
/// # Safety
/// `socket` is not closed meanwhile; `applied` is null or points to a structure whose `size` is right.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_apply(
    socket: deadpeer_socket_t,
    policy: *const deadpeer_policy,
    applied: *mut deadpeer_applied,
) -> c_int {
    status(|| {
        // SAFETY: as the caller promises.
        let (socket, out) = unsafe { (borrow(socket)?, Out::optional(applied)?) };
        let policy = POLICIES.with(policy, |policy| Ok(policy.clone()))?;
        let (applied, error) = match apply(&socket, &policy) {
            Ok(applied) => (applied, None),
            Err(ApplyError::Shortfall(shortfall)) => {
                let error = Error::unreachable(&shortfall);
                (shortfall.applied, Some(error))
            }
            Err(ref error @ ApplyError::Socket(ref failed)) => {
                return Err(Error::system(error, &failed.source));
            }
            Err(error) => return Err(Error::unreachable(error)),
        };
        if let Some(out) = out {
            out.fill(told(&applied));
        }
        error.map_or(Ok(c_int::try_from(applied.gaps.len()).unwrap_or(c_int::MAX)), Err)
    })
}

/// Puts a socket's RTO ceiling (TCP_RTO_MAX_MS) back to Linux' longest, 120 s. Call it before you close a socket
/// whose policy has `accept_rto_ceiling`: else what was written before the close may be lost. A socket without a
/// ceiling of its own is left alone.
///
/// Returns 0, or `DEADPEER_STATUS_SYSTEM` for what is no TCP socket.
///
/// # Safety
/// `socket` is not closed meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_before_close(socket: deadpeer_socket_t) -> c_int {
    status(|| {
        // SAFETY: as the caller promises.
        let socket = unsafe { borrow(socket)? };
        let put_back = before_close(&socket);
        put_back.map_err(|error| {
            Error::system(format_args!("TCP_RTO_MAX_MS can't be put back on this socket: {error}"), &error)
        })?;
        Ok(0)
    })
}

fn told(applied: &Applied) -> deadpeer_applied {
    let now = &applied.now;
    let keepalive = now.active_keepalive();
    let or_off = |time: Option<Option<Duration>>| match time {
        Some(set) => set.map_or(0, millis),
        None => crate::plain::DEADPEER_UNKNOWN,
    };
    let predicted = detection(now, &platform(), Plan::RTO);
    let mut gaps = [gap(None); DEADPEER_GAPS];
    for (place, found) in gaps.iter_mut().zip(&applied.gaps) {
        *place = gap(Some(found));
    }
    deadpeer_applied {
        size: 0,
        keepalive_idle_ms: keepalive.map_or(0, |set| millis(set.idle())),
        keepalive_interval_ms: keepalive.map_or(0, |set| millis(set.interval())),
        keepalive_probes: keepalive.map_or(0, |set| set.probes().into()),
        user_timeout_ms: or_off(now.user_timeout.value()),
        rto_max_ms: or_off(now.rto_max.value()),
        idle: predicted.idle.into(),
        in_flight: predicted.in_flight.into(),
        gap_count: applied.gaps.len().min(DEADPEER_GAPS),
        gaps,
    }
}

fn gap(gap: Option<&Gap>) -> deadpeer_gap {
    deadpeer_gap {
        option: text(gap.map_or("", |gap| gap.option)),
        wanted_ms: gap.map_or(0, |gap| number(gap.wanted)),
        got_ms: gap.map_or(0, |gap| gap.got.map_or(crate::plain::DEADPEER_UNKNOWN, number)),
        error: gap.and_then(|gap| gap.error.as_ref()?.raw_os_error()).unwrap_or(0),
    }
}

fn number(amount: Amount) -> i64 {
    match amount {
        Amount::Time(time) => millis(time),
        Amount::Count(count) => count.into(),
        Amount::Switch(on) => on.into(),
    }
}
