//! One socket of the list: `struct inet_diag_msg` and its attributes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use deadpeer_core::{AcceptQueue, Facts, Known, TcpState, Timer, Why};

use super::super::netlink::message::bytes_at;
use super::super::netlink::{Attributes, Malformed};
use super::super::receive_buffer::{self, ReceiveBuffer};
use super::super::route::Flow;
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
    /// What chooses its route besides; the kernel tells it only of live sockets.
    pub routing: Routing,
    /// What was seen of it.
    pub facts: Facts,
}

/// What chooses a socket's route, beside its addresses, its device and its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Its mark (SO_MARK). The kernel tells it with CAP_NET_ADMIN only.
    pub mark: Known<u32>,
    /// Its type of service or traffic class (IP_TOS, IPV6_TCLASS).
    pub tos: u8,
    /// Whether its local address may be another host's (IP_TRANSPARENT).
    pub transparent: bool,
}

impl Default for Routing {
    /// Nothing is known and nothing is set.
    fn default() -> Self {
        Self { mark: Known::Not(Why::NoNetAdmin), tos: 0, transparent: false }
    }
}

impl Row {
    /// What the kernel chooses the route of its packets by; an unknown mark counts as none.
    pub fn flow(&self) -> Flow {
        let Self { local, peer, interface, uid, routing, .. } = *self;
        Flow { local, peer, interface, uid, mark: routing.mark.value().unwrap_or(0), tos: routing.tos }
    }

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
const ATTRIBUTE_TOS: u16 = 5;
const ATTRIBUTE_TCLASS: u16 = 6;
const ATTRIBUTE_MARK: u16 = 15;
const ATTRIBUTE_SOCKOPT: u16 = 22;

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
    let peer = address(fixed, 24, 6)?;
    let mut routing = Routing::default();
    let (mut info, mut buffer) = (None, None);
    for attribute in Attributes::new(&payload[FIXED..]) {
        let (kind, value) = attribute.map_err(|e| Malformed { offset: e.offset + FIXED, ..e })?;
        match kind {
            // A listener's tcp_info holds its queue where others have counters.
            ATTRIBUTE_INFO if state != TcpState::Listen => {
                let value = TcpInfo::new(value);
                value.fill(&mut facts);
                info = Some(value);
            }
            receive_buffer::ATTRIBUTE => buffer = ReceiveBuffer::new(value),
            // An IPv6 socket has both; that of the family that it speaks counts.
            ATTRIBUTE_TOS if peer.is_ipv4() => routing.tos = value.first().copied().unwrap_or(0),
            ATTRIBUTE_TCLASS if peer.is_ipv6() => routing.tos = value.first().copied().unwrap_or(0),
            ATTRIBUTE_MARK => routing.mark = Known::Is(u32::from_ne_bytes(bytes_at(value, 0, "a mark")?)),
            ATTRIBUTE_SOCKOPT => routing.transparent = is_transparent(value),
            _ => {}
        }
    }
    if let (Some(info), Some(buffer)) = (info, buffer) {
        buffer.fill(info, &mut facts);
    }
    if matches!(facts.timer, Timer::Retransmit(_)) && state != TcpState::Established {
        // Requests (SYN_RECV) carry no tcp_info; the list itself counts.
        facts.retransmits = facts.retransmits.max(fixed[3]);
    }
    let inode = u32_at(fixed, 68)?;
    facts.has_descriptor = inode != 0;
    Ok(Row {
        local: address(fixed, 8, 4)?,
        peer,
        cookie: Cookie(u64::from_ne_bytes(bytes_at(fixed, 44, "a cookie")?)),
        inode,
        uid: u32_at(fixed, 64)?,
        interface: u32_at(fixed, 40)?,
        routing,
        facts,
    })
}

/// `transparent` in `struct inet_diag_sockopt`: the sixth of its bit fields, which the compiler of a kernel that
/// stores the highest byte first lays out from the highest bit on.
fn is_transparent(value: &[u8]) -> bool {
    const TRANSPARENT: u8 = if cfg!(target_endian = "little") { 1 << 5 } else { 1 << 2 };
    value.first().is_some_and(|bits| bits & TRANSPARENT != 0)
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
