//! TCP segments for tests, put together by other means than the code that reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) ports: (u16, u16),
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
    /// Words of IP options (IPv4), and of TCP options.
    options: (u8, u8),
    data: Vec<u8>,
}

impl Made {
    /// A segment of two bytes.
    pub(super) fn example(from: &str, to: &str) -> Self {
        Self {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            ports: (1000, 80),
            sequence: 7,
            acknowledgement: 9,
            flags: ACK,
            options: (0, 0),
            data: vec![1, 2],
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// How many sequence numbers it takes.
    pub(super) fn length(&self) -> u32 {
        self.data.len() as u32 + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }

    /// The whole packet. Its checksums are wrong: nobody looks at them before the receiver does.
    pub(super) fn packet(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.ports.0.to_be_bytes());
        tcp.extend(self.ports.1.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        tcp.extend([(5 + self.options.1) << 4, self.flags, 1, 0, 0, 0, 0, 0]);
        tcp.extend(vec![1; usize::from(self.options.1) * 4]);
        tcp.extend(&self.data);
        let mut packet = Vec::new();
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header = 5 + self.options.0;
                packet.extend([0x40 | header, 0]);
                packet.extend((u16::from(header) * 4 + tcp.len() as u16).to_be_bytes());
                packet.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
                packet.extend(from.octets());
                packet.extend(to.octets());
                packet.extend(vec![1; usize::from(self.options.0) * 4]);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                packet.extend([0x60, 0, 0, 0]);
                packet.extend((tcp.len() as u16).to_be_bytes());
                packet.extend([6, 64]);
                packet.extend(from.octets());
                packet.extend(to.octets());
            }
            _ => panic!("two families"),
        }
        packet.extend(tcp);
        packet
    }
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    let v4 = any::<(u8, u8)>()
        .prop_map(|(from, to)| (Ipv4Addr::new(10, 0, 1, from).into(), Ipv4Addr::new(10, 0, 2, to).into()));
    let v6 = any::<(u16, u16)>().prop_map(|(from, to)| {
        let address = |net, host| Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, host).into();
        (address(1, from), address(2, to))
    });
    prop_oneof![v4, v6]
}

pub(super) fn segment() -> impl Strategy<Value = Made> {
    let data = prop::collection::vec(any::<u8>(), 0..1460);
    let numbers = any::<((u16, u16), u32, u32, u8)>();
    (addresses(), numbers, (0..=10_u8, 0..=10_u8), data).prop_map(
        |((from, to), (ports, sequence, acknowledgement, flags), options, data)| Made {
            from,
            to,
            ports,
            sequence,
            acknowledgement,
            flags,
            options,
            data,
        },
    )
}
