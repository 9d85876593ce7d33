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

use std::io;
use std::os::fd::BorrowedFd;

use deadpeer_core::{TcpState, Why};

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
/// [`Why::NoNetAdmin`], [`Why::NotEstablished`], [`Why::InRepair`]: nothing was sent.
#[doc(alias = "TCP_REPAIR")]
pub fn window_probe(sock: BorrowedFd<'_>) -> Result<u32, Why> {
    let heard_before = open(sock, &[TcpState::Established])?;
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
/// [`Why::OwnTimers`] or [`Why::DataInFlight`] when the socket has one of those; [`Why::NotEstablished`]: nothing was
/// changed.
#[doc(alias = "TCP_KEEPIDLE")]
pub fn keepalive_probe(sock: BorrowedFd<'_>) -> Result<(u32, Changed), Why> {
    let heard_before = open(sock, &[TcpState::Established, TcpState::FinWait2])?;
    let get = |option| sockopt::get(sock, option).map_err(|error| reason(&error));
    let set = |option, value| sockopt::set(sock, option, value).map_err(|error| reason(&error));
    let mut buffer = [0; CAPACITY];
    let counted = sockopt::get_bytes(sock, sockopt::TCP_INFO, &mut buffer).map_or(1, |_| buffer[3]);
    if get(sockopt::SO_KEEPALIVE)? != 0 || get(sockopt::TCP_USER_TIMEOUT)? != 0 || counted != 0 {
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
    let armed = set(sockopt::TCP_KEEPCNT, PROBES)
        .and_then(|()| set(sockopt::TCP_KEEPINTVL, INTERVAL))
        .and_then(|()| set(sockopt::SO_KEEPALIVE, 1))
        // In this order: with keepalive on, a new idle time that has passed already fires at the next tick.
        .and_then(|()| set(sockopt::TCP_KEEPIDLE, 1));
    match armed {
        Ok(()) => Ok((heard_before, changed)),
        Err(why) => {
            undo(sock, changed);
            Err(why)
        }
    }
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

/// Puts back what [`keepalive_probe`] changed, keepalive itself first. Where the owner has turned keepalive
/// to its own values meanwhile, they stay.
pub fn undo(sock: BorrowedFd<'_>, changed: Changed) {
    let ours =
        [(sockopt::TCP_KEEPCNT, PROBES), (sockopt::TCP_KEEPINTVL, INTERVAL), (sockopt::TCP_KEEPIDLE, 1)];
    let still = ours.map(|(option, value)| sockopt::get(sock, option).is_ok_and(|now| now == value));
    if still == [true; 3] {
        let _ = sockopt::set(sock, sockopt::SO_KEEPALIVE, 0);
    }
    let before = [changed.probes, changed.interval, changed.idle];
    for (((option, _), before), still) in ours.into_iter().zip(before).zip(still) {
        if still {
            // A socket that died meanwhile refuses; then there is nothing to restore.
            let _ = sockopt::set(sock, option, before);
        }
    }
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
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use deadpeer_lab::isolated;

    #[test]
    fn a_socket_in_repair_is_left_alone() {
        isolated!(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert!(window_probe(client.as_fd()).is_ok());
            sockopt::set(client.as_fd(), sockopt::TCP_REPAIR, 1).unwrap();
            assert_eq!(window_probe(client.as_fd()), Err(Why::InRepair));
            assert_eq!(sockopt::get(client.as_fd(), sockopt::TCP_REPAIR).unwrap(), 1, "still in repair");
        });
    }

    #[test]
    fn only_an_established_socket_without_timers_of_its_own_lends_its_keepalive() {
        isolated!(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            assert_eq!(window_probe(listener.as_fd()), Err(Why::NotEstablished));
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (_, changed) = keepalive_probe(client.as_fd()).unwrap();
            // Asked again in the middle of it: keepalive is on, and it is not the owner's to tell whose.
            assert_eq!(keepalive_probe(client.as_fd()).unwrap_err(), Why::OwnTimers);
            undo(client.as_fd(), changed);
            assert_eq!(sockopt::get(client.as_fd(), sockopt::SO_KEEPALIVE).unwrap(), 0);
            assert_eq!(sockopt::get(client.as_fd(), sockopt::TCP_KEEPINTVL).unwrap(), 75);
            sockopt::set(client.as_fd(), sockopt::TCP_USER_TIMEOUT, 60_000).unwrap();
            assert_eq!(keepalive_probe(client.as_fd()).unwrap_err(), Why::OwnTimers);
        });
    }
}
