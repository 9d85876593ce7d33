//! Asking a peer whether it is there, now.
//!
//! Two ways, both of which make the kernel send an empty segment that a living peer must answer
//! (RFC 9293, 3.10.7.4: an unacceptable segment is answered by an ACK):
//!
//! - [`window_probe`] needs CAP_NET_ADMIN. It changes no timer, no counter and no option that lasts.
//! - [`keepalive_probe`] needs no privilege. An unanswered one stays counted in `tcpi_probes` until the peer
//!   is heard again, so it is only for sockets where nothing that runs looks at that count.
//!
//! Neither waits for the answer: it shows as a younger `tcpi_last_ack_recv` or a risen `tcpi_segs_in`.
//!
//! While something of a socket is changed, two runs must not take each other's change for the owner's. So the
//! socket itself is locked (`Alone` below): that works across users, containers and namespaces, and nobody can hold
//! the lock but who has a descriptor of this very socket.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use deadpeer_core::{TcpState, Why};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::sockopt;
use super::stream::unacknowledged;
use super::tcp_info::{CAPACITY, TcpInfo};

/// Turning repair mode off, though it is off, sends one window probe at once
/// (`do_tcp_setsockopt`, `tcp_send_window_probe` in net/ipv4). It also clears SO_REUSEADDR, which is put
/// back.
///
/// `Ok` is the number of segments that had come from the peer before (`tcpi_segs_in`).
///
/// # Errors
/// [`Why::NoNetAdmin`], [`Why::NotEstablished`], [`Why::InRepair`], [`Why::Busy`]: nothing was sent.
#[doc(alias = "TCP_REPAIR")]
pub fn window_probe(sock: BorrowedFd<'_>) -> Result<u32, Why> {
    let heard_before = open(sock, &[TcpState::Established])?;
    let _alone = Alone::with(sock)?;
    match sockopt::get(sock, sockopt::TCP_REPAIR) {
        Ok(0) => {}
        Ok(_) => return Err(Why::InRepair),
        Err(error) => return Err(reason(&error)),
    }
    let reuse = sockopt::get(sock, sockopt::SO_REUSEADDR).map_err(|error| reason(&error))?;
    let sent = sockopt::set(sock, sockopt::TCP_REPAIR, 0).map_err(|error| reason(&error));
    if sent.is_ok() && reuse != 0 {
        sockopt::set(sock, sockopt::SO_REUSEADDR, reuse).map_err(|error| reason(&error))?;
    }
    sent.map(|()| heard_before)
}

/// The only one, of all that ask, who changes something of a socket now: a record lock (`F_SETLK` in fcntl(2)) on
/// the socket, and a mutex among the threads of this process, which record locks don't keep apart.
///
/// It ends with the first descriptor of the socket that this process closes, at the latest with the process; the
/// owner's calls on the socket don't see it. Where the system forbids it (SELinux may), the lock of the
/// namespace ([`Lock`](super::lock::Lock)) must do.
struct Alone<'s> {
    sock: BorrowedFd<'s>,
    _in_this_process: MutexGuard<'static, ()>,
}

static IN_THIS_PROCESS: Mutex<()> = Mutex::new(());

impl<'s> Alone<'s> {
    /// # Errors
    /// [`Why::Busy`]: another process has it for longer than a question takes.
    fn with(sock: BorrowedFd<'s>) -> Result<Self, Why> {
        /// A question takes some ten microseconds, yielding the processor at least one.
        const TRIES: usize = 200;
        let _in_this_process = IN_THIS_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            match rustix::fs::fcntl_lock(sock, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::AGAIN) => std::thread::yield_now(),
                Ok(()) | Err(_) => return Ok(Self { sock, _in_this_process }),
            }
        }
        Err(Why::Busy)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::fcntl_lock(self.sock, FlockOperation::NonBlockingUnlock);
    }
}

/// What [`keepalive_probe`] changed and [`undo`] puts back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    idle: i32,
    interval: i32,
    probes: i32,
}

/// Keepalive times of a socket for the moment that a probe takes to leave: should we die before [`undo`],
/// 127 probes 9 hours apart would have to go unanswered (48 days) before the connection ended.
const INTERVAL: i32 = 32_767;
const PROBES: i32 = 127;

/// Lets keepalive send one probe at the next tick (some milliseconds): for a socket in ESTABLISHED or FIN_WAIT2 that
/// has neither keepalive nor a user timeout nor unanswered probes, that has no data in flight (keepalive does not run
/// then, `tcp_keepalive_timer`), and that was silent for a second.
///
/// Call [`undo`] once the probe has left. A restored value no longer follows the system's default; nothing
/// looks at it while keepalive is off.
///
/// # Errors
/// [`Why::OwnTimers`] or [`Why::DataInFlight`] when the socket has one of those, [`Why::Borrowed`] when they are those
/// of another run; [`Why::NotEstablished`], [`Why::Busy`]: nothing was changed.
#[doc(alias = "TCP_KEEPIDLE")]
pub fn keepalive_probe(sock: BorrowedFd<'_>) -> Result<(u32, Changed), Why> {
    let heard_before = open(sock, &[TcpState::Established, TcpState::FinWait2])?;
    let _alone = Alone::with(sock)?;
    let get = |option| sockopt::get(sock, option).map_err(|error| reason(&error));
    let set = |option, value| sockopt::set(sock, option, value).map_err(|error| reason(&error));
    let mut buffer = [0; CAPACITY];
    let counted = sockopt::get_bytes(sock, sockopt::TCP_INFO, &mut buffer).map_or(1, |_| buffer[3]);
    if get(sockopt::SO_KEEPALIVE)? != 0 {
        return Err(if has_ours(sock) { Why::Borrowed } else { Why::OwnTimers });
    }
    if get(sockopt::TCP_USER_TIMEOUT)? != 0 || counted != 0 {
        return Err(Why::OwnTimers);
    }
    if unacknowledged(sock).map_err(|error| reason(&error))? > 0 {
        return Err(Why::DataInFlight);
    }
    let changed = Changed {
        idle: get(sockopt::TCP_KEEPIDLE)?,
        interval: get(sockopt::TCP_KEEPINTVL)?,
        probes: get(sockopt::TCP_KEEPCNT)?,
    };
    // While keepalive is off these rule nothing.
    let armed = set(sockopt::TCP_KEEPCNT, PROBES)
        .and_then(|()| set(sockopt::TCP_KEEPINTVL, INTERVAL))
        .and_then(|()| arm(sock));
    match armed {
        Ok(()) => Ok((heard_before, changed)),
        Err(Why::OwnTimers) => {
            restore(sock, changed);
            Err(Why::OwnTimers)
        }
        Err(why) => {
            give_back(sock, changed);
            Err(why)
        }
    }
}

/// # Errors
/// [`Why::OwnTimers`] when the owner has turned keepalive on meanwhile.
fn arm(sock: BorrowedFd<'_>) -> Result<(), Why> {
    let set = |option, value| sockopt::set(sock, option, value).map_err(|error| reason(&error));
    if sockopt::get(sock, sockopt::SO_KEEPALIVE).map_err(|error| reason(&error))? != 0 {
        return Err(Why::OwnTimers);
    }
    set(sockopt::SO_KEEPALIVE, 1)?;
    // In this order: with keepalive on, a new idle time that has passed already fires at the next tick.
    set(sockopt::TCP_KEEPIDLE, 1)
}

/// Whether the probe of [`keepalive_probe`] has left: it is counted, or something came from the peer since
/// there were `segments_before`. It waits for the peer to have been silent for a second.
///
/// # Errors
/// Of reading `TCP_INFO`.
pub fn probe_has_left(sock: BorrowedFd<'_>, segments_before: u32) -> Result<bool, Why> {
    let mut buffer = [0; CAPACITY];
    let counted = sockopt::get_bytes(sock, sockopt::TCP_INFO, &mut buffer).map_err(|error| reason(&error))?;
    let counted = counted > 3 && buffer[3] > 0;
    let info = TcpInfo::read(sock, &mut buffer).map_err(|error| reason(&error))?;
    Ok(counted || info.segments_in() != Some(segments_before))
}

/// Puts back what [`keepalive_probe`] changed, keepalive itself first, unless the owner has turned keepalive on
/// meanwhile: a value that is not ours any more shows that, before keepalive is switched off or just after. Then
/// keepalive stays on, or goes on again, and only values that are still ours are put back.
///
/// What can't be told: an owner that in between called `setsockopt(SO_KEEPALIVE, 1)` and set no value of its own.
/// On a socket that has keepalive on, that call changes nothing at all (`tcp_set_keepalive` in
/// net/ipv4/tcp_timer.c), so it leaves no trace, and keepalive goes off.
pub fn undo(sock: BorrowedFd<'_>, changed: Changed) {
    // Another run that holds it too long has been stopped: no reason to leave keepalive on.
    let _alone = Alone::with(sock);
    give_back(sock, changed);
}

fn give_back(sock: BorrowedFd<'_>, changed: Changed) {
    if switch_off(sock) {
        on_again_for_the_owner(sock);
    }
    restore(sock, changed);
}

/// Switches keepalive off, unless the owner has set it.
fn switch_off(sock: BorrowedFd<'_>) -> bool {
    has_ours(sock) && sockopt::set(sock, sockopt::SO_KEEPALIVE, 0).is_ok()
}

/// Where the owner was in the middle of its calls, its own values show up now: keepalive goes on again, armed with
/// them as the owner's call would have armed it.
fn on_again_for_the_owner(sock: BorrowedFd<'_>) {
    /// The owner makes its next call within microseconds.
    const LOOKS: usize = 20;
    if !(0..LOOKS).all(|_| has_ours(sock)) {
        let _ = sockopt::set(sock, sockopt::SO_KEEPALIVE, 1);
    }
}

/// Puts back the values that are still ours.
fn restore(sock: BorrowedFd<'_>, changed: Changed) {
    for ((option, ours), before) in OURS.into_iter().zip([changed.probes, changed.interval, changed.idle]) {
        if sockopt::get(sock, option).is_ok_and(|now| now == ours) {
            // A socket that died meanwhile refuses; then there is nothing to restore.
            let _ = sockopt::set(sock, option, before);
        }
    }
}

const OURS: [(sockopt::Name, i32); 3] =
    [(sockopt::TCP_KEEPCNT, PROBES), (sockopt::TCP_KEEPINTVL, INTERVAL), (sockopt::TCP_KEEPIDLE, 1)];

/// Whether all keepalive times are those of a question.
fn has_ours(sock: BorrowedFd<'_>) -> bool {
    OURS.into_iter().all(|(option, ours)| sockopt::get(sock, option).is_ok_and(|now| now == ours))
}

fn open(sock: BorrowedFd<'_>, states: &[TcpState]) -> Result<u32, Why> {
    let mut buffer = [0; CAPACITY];
    let info = TcpInfo::read(sock, &mut buffer).map_err(|error| reason(&error))?;
    match info.state() {
        Some(state) if states.contains(&state) => Ok(info.segments_in().unwrap_or(0)),
        _ => Err(Why::NotEstablished),
    }
}

fn reason(error: &io::Error) -> Why {
    match error.raw_os_error() {
        Some(libc::EPERM) => Why::NoNetAdmin,
        Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP) => Why::NotOnThisKernel,
        Some(libc::EBADF | libc::ENOTCONN) => Why::SocketGone,
        _ => Why::Failed,
    }
}

#[cfg(test)]
#[path = "ask_tests.rs"]
mod tests;
