//! One socket of the list: `struct inet_diag_msg` and its attributes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use deadpeer_core::{AcceptQueue, Facts, TcpState, Timer};

use super::super::netlink::message::bytes_at;
use super::super::netlink::{Attributes, Malformed};
use super::super::receive_buffer::{self, ReceiveBuffer};
use super::super::tcp_info::{self, TcpInfo};

/// What identifies a socket as long as the kernel runs (`SO_COOKIE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

/// One TCP socket, as the kernel listed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Our end.
    pub local: SocketAddr,
    /// The other end; unspecified for a listener.
    pub peer: SocketAddr,
    /// The socket's identity.
    pub cookie: Cookie,
    /// The inode by which /proc/PID/fd names it; 0 when no descriptor exists.
    pub inode: u32,
    /// The user who made it.
    pub uid: u32,
    /// The interface it is bound to, 0 for none.
    pub interface: u32,
    /// What was seen of it.
    pub facts: Facts,
}

impl Row {
    /// `struct inet_diag_sockid`, for a question about exactly this socket.
    pub(super) fn write_id(&self, id: &mut [u8]) {
        fn octets(address: IpAddr) -> [u8; 16] {
            match address {
                IpAddr::V6(address) => address.octets(),
                IpAddr::V4(address) => {
                    let mut bytes = [0; 16];
                    bytes[..4].copy_from_slice(&address.octets());
                    bytes
                }
            }
        }
        id[0..2].copy_from_slice(&self.local.port().to_be_bytes());
        id[2..4].copy_from_slice(&self.peer.port().to_be_bytes());
        id[4..20].copy_from_slice(&octets(self.local.ip()));
        id[20..36].copy_from_slice(&octets(self.peer.ip()));
        id[36..40].copy_from_slice(&self.interface.to_ne_bytes());
        id[40..48].copy_from_slice(&self.cookie.0.to_ne_bytes());
    }
}

/// Length of `struct inet_diag_msg`.
const FIXED: usize = 72;
const ATTRIBUTE_INFO: u16 = 2;

/// Checks one message's payload and makes a row of it.
///
/// # Errors
/// [`Malformed`] for bytes that are too short, an unknown family or state, or attributes that don't fit.
pub fn parse_row(payload: &[u8]) -> Result<Row, Malformed> {
    let fixed: &[u8; FIXED] =
        payload.first_chunk().ok_or(Malformed { offset: payload.len(), what: "struct inet_diag_msg" })?;
    let state = tcp_info::state(fixed[1]).ok_or(Malformed { offset: 1, what: "a TCP state" })?;
    let mut facts = Facts::new(state);
    facts.timer = timer(fixed[2], u32_at(fixed, 52)?);
    let (receive_queue, send_queue) = (u32_at(fixed, 56)?, u32_at(fixed, 60)?);
    if state == TcpState::Listen {
        facts.accept_queue = Some(AcceptQueue { waiting: receive_queue, limit: send_queue, oldest: None });
    } else {
        facts.unread = receive_queue;
        facts.in_flight = send_queue;
    }
    let (mut info, mut buffer) = (None, None);
    for attribute in Attributes::new(&payload[FIXED..]) {
        let (kind, value) = attribute.map_err(|e| Malformed { offset: e.offset + FIXED, ..e })?;
        // A listener's tcp_info holds its queue where others have counters.
        if kind == ATTRIBUTE_INFO && state != TcpState::Listen {
            let value = TcpInfo::new(value);
            value.fill(&mut facts);
            info = Some(value);
        } else if kind == receive_buffer::ATTRIBUTE {
            buffer = ReceiveBuffer::new(value);
        }
    }
    if let (Some(info), Some(buffer)) = (info, buffer) {
        buffer.fill(info, &mut facts);
    }
    if matches!(facts.timer, Timer::Retransmit(_)) && state != TcpState::Established {
        // Requests (SYN_RECV) carry no tcp_info; the list itself counts.
        facts.retransmits = facts.retransmits.max(fixed[3]);
    }
    Ok(Row {
        local: address(fixed, 8, 4)?,
        peer: address(fixed, 24, 6)?,
        cookie: Cookie(u64::from_ne_bytes(bytes_at(fixed, 44, "a cookie")?)),
        inode: u32_at(fixed, 68)?,
        uid: u32_at(fixed, 64)?,
        interface: u32_at(fixed, 40)?,
        facts,
    })
}

fn u32_at(fixed: &[u8; FIXED], at: usize) -> Result<u32, Malformed> {
    Ok(u32::from_ne_bytes(bytes_at(fixed, at, "a 32-bit number")?))
}

/// `idiag_timer`, `idiag_expires` (`inet_sk_diag_fill` in net/ipv4/inet_diag.c). An expiry in the past shows
/// as a number that wrapped; it is due now.
fn timer(kind: u8, expires_ms: u32) -> Timer {
    let due = Duration::from_millis(if expires_ms > i32::MAX as u32 { 0 } else { expires_ms.into() });
    match kind {
        1 => Timer::Retransmit(due),
        2 => Timer::Keepalive(due),
        3 => Timer::TimeWait(due),
        4 => Timer::WindowProbe(due),
        _ => Timer::Off,
    }
}

/// An address and its port. IPv4 peers of IPv6 sockets are shown as the IPv4 addresses that they are.
fn address(fixed: &[u8; FIXED], at: usize, port_at: usize) -> Result<SocketAddr, Malformed> {
    let port = u16::from_be_bytes(bytes_at(fixed, port_at, "a port")?);
    let ip = match i32::from(fixed[0]) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(bytes_at::<4>(fixed, at, "an IPv4 address")?)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(bytes_at::<16>(fixed, at, "an IPv6 address")?)),
        _ => return Err(Malformed { offset: 0, what: "family AF_INET or AF_INET6" }),
    };
    Ok(SocketAddr::new(ip.to_canonical(), port))
}
