//! The answers of a router that refuses a packet: RFC 9293 (3.5.2), RFC 1812 (4.3.2), RFC 4443 (2.4, 3.1).

use std::net::IpAddr;

use super::impairment::Rejection;
use super::packet::{ICMP, ICMP_V6, Packet, TCP, Tcp};

/// The packet that refuses `packet`, from a router whose addresses are `router`; `None` where there must be none.
pub(super) fn refuse(packet: &Packet<'_>, rejection: Rejection, router: [IpAddr; 2]) -> Option<Vec<u8>> {
    if !packet.is_routable() {
        return None;
    }
    match rejection {
        Rejection::Reset => reset(packet),
        _ if is_icmp_error(packet) => None,
        _ => unreachable(packet, rejection, router),
    }
}

/// A segment that the sender's TCP believes: it carries the number that the sender expects next.
fn reset(packet: &Packet<'_>) -> Option<Vec<u8>> {
    const RST: u8 = 4;
    const ACK: u8 = 16;

    let (protocol, segment) = packet.payload()?;
    let tcp = Tcp::parse(segment).filter(|tcp| protocol == TCP && !tcp.reset)?;
    let (sequence, acknowledgement, flags) = match tcp.acknowledgement {
        Some(expected) => (expected, 0, RST),
        None => (0, tcp.sequence.wrapping_add(tcp.length), RST | ACK),
    };
    let mut segment = Vec::with_capacity(20);
    segment.extend(tcp.destination.to_be_bytes());
    segment.extend(tcp.source.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledgement.to_be_bytes());
    segment.extend([5 << 4, flags]);
    segment.extend([0; 6]); // window, checksum, urgent pointer
    let (from, to) = (packet.destination(), packet.source());
    let sum = checksum(&[&pseudo_header(from, to, TCP, segment.len())?, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    with_ip_header(from, to, TCP, &segment)
}

fn is_icmp_error(packet: &Packet<'_>) -> bool {
    match packet.payload() {
        // Fragments are answered once, for the first (RFC 1122, 3.2.2).
        None => true,
        // Anything but an echo is an error, or nothing that an error should be sent about.
        Some((ICMP, message)) => !matches!(message.first(), Some(0 | 8)),
        Some((ICMP_V6, message)) => message.first().is_none_or(|kind| *kind < 128),
        Some(_) => false,
    }
}

fn unreachable(packet: &Packet<'_>, rejection: Rejection, router: [IpAddr; 2]) -> Option<Vec<u8>> {
    let to = packet.source();
    let from = router.into_iter().find(|address| address.is_ipv4() == to.is_ipv4())?;
    // What fits into the smallest packet that every link carries: 576 and 1280 bytes.
    let (kind, code, protocol, room) = match (to, rejection) {
        (_, Rejection::Reset) => return None,
        (IpAddr::V4(_), Rejection::NetworkUnreachable) => (3, 0, ICMP, 576 - 28),
        (IpAddr::V4(_), Rejection::HostUnreachable) => (3, 1, ICMP, 576 - 28),
        (IpAddr::V4(_), Rejection::PortUnreachable) => (3, 3, ICMP, 576 - 28),
        (IpAddr::V4(_), Rejection::Prohibited) => (3, 13, ICMP, 576 - 28),
        (IpAddr::V6(_), Rejection::NetworkUnreachable) => (1, 0, ICMP_V6, 1280 - 48),
        (IpAddr::V6(_), Rejection::HostUnreachable) => (1, 3, ICMP_V6, 1280 - 48),
        (IpAddr::V6(_), Rejection::PortUnreachable) => (1, 4, ICMP_V6, 1280 - 48),
        (IpAddr::V6(_), Rejection::Prohibited) => (1, 1, ICMP_V6, 1280 - 48),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(packet.bytes().iter().take(room));
    let sum = match protocol {
        ICMP => checksum(&[&message]),
        _ => checksum(&[&pseudo_header(from, to, protocol, message.len())?, &message]),
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    with_ip_header(from, to, protocol, &message)
}

fn with_ip_header(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    const HOPS: u8 = 64;

    let mut packet = Vec::with_capacity(40 + payload.len());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = u16::try_from(20 + payload.len()).ok()?;
            packet.extend([0x45, 0]);
            packet.extend(total.to_be_bytes());
            packet.extend([0, 0, 0x40, 0]); // not to be fragmented
            packet.extend([HOPS, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = checksum(&[&packet]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(u16::try_from(payload.len()).ok()?.to_be_bytes());
            packet.extend([protocol, HOPS]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => return None,
    }
    packet.extend(payload);
    Some(packet)
}

/// What the checksums of TCP and ICMPv6 cover besides the payload.
fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Option<Vec<u8>> {
    let mut header = Vec::with_capacity(40);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend(from.octets());
            header.extend(to.octets());
            header.extend([0, protocol]);
            header.extend(u16::try_from(length).ok()?.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.extend(from.octets());
            header.extend(to.octets());
            header.extend(u32::try_from(length).ok()?.to_be_bytes());
            header.extend([0, 0, 0, protocol]);
        }
        _ => return None,
    }
    Some(header)
}

/// RFC 1071, over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
