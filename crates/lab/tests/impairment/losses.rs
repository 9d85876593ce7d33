//! Packets that never arrive: all, the long ones, those of one peer.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::thread;
use std::time::Duration;

use deadpeer_lab::{Direction, ImpairedLink, Impairment, Pair};

use crate::common::{A_MOMENT, A_WHILE, FAMILIES, arrives, linked, listen};

#[test]
fn dropping_everything_is_silence_in_its_direction_and_heals() {
    linked!(1, |link| {
        for address in FAMILIES {
            let (_listener, there) = listen(&link, address);
            for (direction, forth, back) in [
                (Direction::LeftToRight, false, true),
                (Direction::RightToLeft, true, false),
                (Direction::Both, false, false),
            ] {
                let pair = Pair::across(&link, address).unwrap();
                link.set(direction, Impairment::new().drop_all());
                assert_eq!(arrives(&pair.client, &pair.server, 5, A_MOMENT), forth);
                assert_eq!(arrives(&pair.server, &pair.client, 5, A_MOMENT), back);
                let error = link.left(|| TcpStream::connect_timeout(&there, A_MOMENT)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut, "not refused, not unreachable");
                let counters = link.counters_for(address, direction);
                assert!(counters.dropped > 0, "{counters:?}");
                link.heal();
                let (forth, back) = (forth || read_five(&pair.server), back || read_five(&pair.client));
                assert!(forth && back, "what was sent arrives after all");
            }
        }
    });
}

fn read_five(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(A_WHILE)).unwrap();
    stream.read_exact(&mut [0; 5]).is_ok()
}

#[test]
fn a_black_hole_swallows_long_packets_only() {
    linked!(1, |link| {
        for address in FAMILIES {
            let pair = Pair::across(&link, address).unwrap();
            link.set(Direction::LeftToRight, Impairment::new().drop_longer_than(1000));
            assert!(arrives(&pair.client, &pair.server, 500, A_WHILE));
            assert!(arrives(&pair.server, &pair.client, 5000, A_WHILE), "the other direction carries them");
            assert!(!arrives(&pair.client, &pair.server, 5000, A_MOMENT));
            let counters = link.counters_for(address, Direction::LeftToRight);
            assert!(counters.too_long > 0 && counters.dropped == 0, "{counters:?}");
            // Not one byte more than that: headers of 20 (40) and 32 bytes.
            let pair = Pair::across(&link, address).unwrap();
            let room = 1000 - 32 - if address.is_ipv4() { 20 } else { 40 };
            assert!(arrives(&pair.client, &pair.server, room, A_WHILE));
            assert!(!arrives(&pair.client, &pair.server, room + 1, A_MOMENT));
            link.heal();
        }
    });
}

#[test]
fn a_sender_whose_acknowledgements_are_lost_sends_nothing_new() {
    linked!(1, |link| {
        for address in FAMILIES {
            let mut pair = Pair::across(&link, address).unwrap();
            pair.server.set_nodelay(true).unwrap();
            link.set(Direction::LeftToRight, Impairment::new().drop_all());
            for _ in 0..2 {
                pair.server.write_all(b"x").unwrap();
                thread::sleep(Duration::from_millis(800)); // a tail loss probe, and the retransmission timeout
            }
            pair.client.set_nonblocking(true).unwrap();
            assert_eq!(pair.client.read(&mut [0; 8]).unwrap(), 1, "the first, and none of those after it");
            link.heal();
        }
    });
}

#[test]
fn one_peer_can_be_impaired_alone_or_spared_alone() {
    linked!(1, |link| {
        let others = [IpAddr::V4(ImpairedLink::RIGHT_V4[1]), IpAddr::V6(ImpairedLink::RIGHT_V6[1])];
        for (address, other) in FAMILIES.into_iter().zip(others) {
            let [one, witness] = [address, other].map(|address| Pair::across(&link, address).unwrap());
            link.set_for(address, Direction::Both, Impairment::new().drop_all());
            assert!(!arrives(&one.client, &one.server, 5, A_MOMENT));
            assert!(!arrives(&one.server, &one.client, 5, A_MOMENT));
            assert!(arrives(&witness.client, &witness.server, 5, A_WHILE));
            assert!(arrives(&witness.server, &witness.client, 5, A_WHILE));
            assert_eq!(link.counters_for(other, Direction::Both).dropped, 0);

            // Spared alone: the own impairment goes before the general one.
            link.set_for(other, Direction::Both, Impairment::new());
            link.unset_for(address, Direction::Both);
            link.set(Direction::Both, Impairment::new().drop_all());
            let dropped = link.counters_for(address, Direction::Both).dropped;
            assert!(arrives(&witness.client, &witness.server, 5, A_WHILE));
            assert!(!arrives(&one.client, &one.server, 5, A_MOMENT));
            assert!(link.counters_for(address, Direction::Both).dropped >= dropped);
            link.heal();
            let pair = Pair::across(&link, address).unwrap();
            assert!(arrives(&pair.client, &pair.server, 5, A_WHILE));
        }
    });
}

#[test]
#[should_panic(expected = "isolated, failed")]
fn an_address_that_the_right_host_does_not_have_is_a_mistake() {
    linked!(1, |link| {
        link.set_for(ImpairedLink::LEFT_V4.into(), Direction::Both, Impairment::new().drop_all());
    });
}
