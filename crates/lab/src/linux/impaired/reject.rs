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

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::super::made;
    use super::*;

    const ROUTER: [IpAddr; 2] = [
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 254)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe)),
    ];
    const ICMP_REJECTIONS: [Rejection; 4] = [
        Rejection::NetworkUnreachable,
        Rejection::HostUnreachable,
        Rejection::PortUnreachable,
        Rejection::Prohibited,
    ];

    /// Whether the checksums of a packet's IP header and its payload hold.
    fn sums_hold(packet: &Packet<'_>) -> bool {
        let (protocol, payload) = packet.payload().unwrap();
        let bytes = packet.bytes();
        let header_holds = bytes[0] >> 4 == 6 || checksum(&[&bytes[..20]]) == 0;
        let pseudo = match protocol {
            ICMP => Vec::new(),
            _ => pseudo_header(packet.source(), packet.destination(), protocol, payload.len()).unwrap(),
        };
        header_holds && checksum(&[&pseudo, payload]) == 0
    }

    proptest! {
        #[test]
        fn a_reset_is_what_the_sender_expects_next(made in made::segment()) {
            let bytes = made.packet();
            let answer = refuse(&Packet::parse(&bytes).unwrap(), Rejection::Reset, ROUTER);
            prop_assert_eq!(answer.is_none(), made.has(made::RST));
            if let Some(answer) = answer {
                let packet = Packet::parse(&answer).unwrap();
                prop_assert!(sums_hold(&packet));
                prop_assert_eq!((packet.source(), packet.destination()), (made.to, made.from));
                let tcp = Tcp::parse(packet.payload().unwrap().1).unwrap();
                prop_assert!(tcp.reset);
                prop_assert_eq!((tcp.source, tcp.destination, tcp.length), (made.ports.1, made.ports.0, 0));
                match made.has(made::ACK) {
                    true => prop_assert_eq!((tcp.sequence, tcp.acknowledgement), (made.acknowledgement, None)),
                    false => {
                        let next = made.sequence.wrapping_add(made.length());
                        prop_assert_eq!((tcp.sequence, tcp.acknowledgement), (0, Some(next)));
                    }
                }
            }
        }

        #[test]
        fn an_icmp_error_quotes_the_packet(made in made::segment(), which in 0..4_usize) {
            let bytes = made.packet();
            let rejection = ICMP_REJECTIONS[which];
            let answer = refuse(&Packet::parse(&bytes).unwrap(), rejection, ROUTER).unwrap();
            let packet = Packet::parse(&answer).unwrap();
            prop_assert!(sums_hold(&packet));
            prop_assert!(ROUTER.contains(&packet.source()));
            prop_assert_eq!(packet.destination(), made.from);
            let room = if made.from.is_ipv4() { 576 } else { 1280 };
            prop_assert!(answer.len() <= room);
            let (protocol, message) = packet.payload().unwrap();
            prop_assert_eq!(protocol, if made.from.is_ipv4() { ICMP } else { ICMP_V6 });
            prop_assert_eq!(message[0], if made.from.is_ipv4() { 3 } else { 1 });
            prop_assert!(message.len() >= 8 + bytes.len().min(500));
            prop_assert!(bytes.starts_with(&message[8..]));
            // No error is answered by another.
            for rejection in ICMP_REJECTIONS {
                prop_assert_eq!(refuse(&packet, rejection, ROUTER), None);
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(packet) = Packet::parse(&bytes) {
                for rejection in ICMP_REJECTIONS.into_iter().chain([Rejection::Reset]) {
                    if let Some(answer) = refuse(&packet, rejection, ROUTER) {
                        prop_assert!(Packet::parse(&answer).is_some());
                    }
                }
            }
        }
    }

    #[test]
    fn nobody_answers_multicast_or_a_missing_sender() {
        for (from, to) in
            [("0.0.0.0", "10.0.0.2"), ("10.0.0.1", "224.0.0.1"), ("::", "fd00::2"), ("fd00::1", "ff02::1")]
        {
            let bytes = made::Made::example(from, to).packet();
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(refuse(&packet, Rejection::HostUnreachable, ROUTER), None, "{from} to {to}");
        }
    }
}
