//! IP packets as they lie in memory: checked once, then read.

use std::net::IpAddr;

pub(super) const TCP: u8 = 6;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMP_V6: u8 = 58;

/// A whole IP packet. The bytes are as many as its header says, and the headers before the payload are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    bytes: &'a [u8],
    source: IpAddr,
    destination: IpAddr,
    /// The protocol of the payload.
    protocol: u8,
    /// Where the payload begins.
    payload: usize,
    /// Whether this is a fragment other than the first, whose payload has no header.
    continues: bool,
}

impl<'a> Packet<'a> {
    /// Checks `bytes` against RFC 791 and RFC 8200. The checksum of the IPv4 header is the receiver's to check.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::parse_v4(bytes),
            6 => Self::parse_v6(bytes),
            _ => None,
        }
    }

    fn parse_v4(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<20>()?;
        let payload = usize::from(header[0] & 0xf) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if payload < header.len() || total < payload || total != bytes.len() {
            return None;
        }
        let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
        Some(Self {
            bytes,
            source: IpAddr::from(*header[12..].first_chunk::<4>()?),
            destination: IpAddr::from(*header[16..].first_chunk::<4>()?),
            protocol: header[9],
            payload,
            continues: offset != 0,
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Option<Self> {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const DESTINATION: u8 = 60;

        let header = bytes.first_chunk::<40>()?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header.len() + length != bytes.len() {
            return None;
        }
        let (mut protocol, mut payload, mut continues) = (header[6], header.len(), false);
        while !continues {
            let extension = match protocol {
                HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT => bytes.get(payload..)?.first_chunk::<8>()?,
                _ => break,
            };
            let length = match protocol {
                FRAGMENT => {
                    continues = u16::from_be_bytes([extension[2], extension[3]]) >> 3 != 0;
                    extension.len()
                }
                _ => (usize::from(extension[1]) + 1) * 8,
            };
            protocol = extension[0];
            payload += length;
            if payload > bytes.len() {
                return None;
            }
        }
        Some(Self {
            bytes,
            source: IpAddr::from(*header[8..].first_chunk::<16>()?),
            destination: IpAddr::from(*header[24..].first_chunk::<16>()?),
            protocol,
            payload,
            continues,
        })
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn source(&self) -> IpAddr {
        self.source
    }

    pub(super) fn destination(&self) -> IpAddr {
        self.destination
    }

    /// The payload's protocol, and the payload; `None` for fragments other than the first.
    pub(super) fn payload(&self) -> Option<(u8, &'a [u8])> {
        match self.continues {
            true => None,
            false => Some((self.protocol, self.bytes.get(self.payload..)?)),
        }
    }

    /// Whether it goes from one host to another, beyond the link: neither multicast nor broadcast, and no address
    /// that holds on one link only.
    pub(super) fn is_routable(&self) -> bool {
        [self.source, self.destination].into_iter().all(|address| match address {
            IpAddr::V4(v4) => {
                !(v4.is_multicast() || v4.is_broadcast() || v4.is_link_local() || v4.is_unspecified())
            }
            IpAddr::V6(v6) => !(v6.is_multicast() || v6.is_unicast_link_local() || v6.is_unspecified()),
        })
    }
}

/// A TCP segment whose header is complete (RFC 9293).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tcp {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) sequence: u32,
    /// `None` without the flag ACK.
    pub(super) acknowledgement: Option<u32>,
    pub(super) reset: bool,
    /// How many sequence numbers it takes: the data's length, and one each for SYN and FIN.
    pub(super) length: u32,
}

impl Tcp {
    pub(super) fn parse(segment: &[u8]) -> Option<Self> {
        const FIN: u8 = 1;
        const SYN: u8 = 2;
        const RST: u8 = 4;
        const ACK: u8 = 16;

        let header = segment.first_chunk::<20>()?;
        let data = segment.len().checked_sub(usize::from(header[12] >> 4) * 4)?;
        if usize::from(header[12] >> 4) * 4 < header.len() {
            return None;
        }
        let has = |flag| header[13] & flag != 0;
        let number =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        Some(Self {
            source: u16::from_be_bytes([header[0], header[1]]),
            destination: u16::from_be_bytes([header[2], header[3]]),
            sequence: number(4),
            acknowledgement: has(ACK).then(|| number(8)),
            reset: has(RST),
            length: u32::try_from(data).ok()? + u32::from(has(SYN)) + u32::from(has(FIN)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::made;
    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_whole_packet_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(packet) = Packet::parse(&bytes) {
                prop_assert_eq!(packet.bytes(), &bytes[..]);
                if let Some((_, payload)) = packet.payload() {
                    prop_assert!(bytes.ends_with(payload));
                    let _ = Tcp::parse(payload);
                }
            }
        }

        #[test]
        fn a_made_segment_is_read_back_and_a_cut_one_is_not(made in made::segment(), cut in any::<prop::sample::Index>()) {
            let bytes = made.packet();
            let packet = Packet::parse(&bytes).unwrap();
            prop_assert_eq!((packet.source(), packet.destination()), (made.from, made.to));
            let (protocol, payload) = packet.payload().unwrap();
            prop_assert_eq!(protocol, TCP);
            let tcp = Tcp::parse(payload).unwrap();
            let expected = Tcp {
                source: made.ports.0,
                destination: made.ports.1,
                sequence: made.sequence,
                acknowledgement: made.has(made::ACK).then_some(made.acknowledgement),
                reset: made.has(made::RST),
                length: made.length(),
            };
            prop_assert_eq!(tcp, expected);
            prop_assert_eq!(Packet::parse(&bytes[..cut.index(bytes.len())]), None);
            let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
            prop_assert_eq!(Packet::parse(&longer), None);
        }
    }

    #[test]
    fn a_fragment_that_is_not_the_first_has_no_ports() {
        let mut v4 = made::Made::example("10.0.0.1", "10.0.0.2").packet();
        v4[7] = 1; // an offset of 8 bytes
        assert_eq!(Packet::parse(&v4).unwrap().payload(), None);
        let mut v6 = made::Made::example("fd00::1", "fd00::2").packet();
        let segment = v6.split_off(40);
        v6[6] = 44;
        v6[5] += 8;
        let first = [v6.clone(), vec![TCP, 0, 0, 1, 0, 0, 0, 9], segment.clone()].concat();
        assert_eq!(Packet::parse(&first).unwrap().payload(), Some((TCP, &segment[..])));
        let second = [v6, vec![TCP, 0, 0, 9, 0, 0, 0, 9], segment].concat();
        assert_eq!(Packet::parse(&second).unwrap().payload(), None);
    }
}
