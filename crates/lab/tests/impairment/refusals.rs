//! Resets and ICMP errors that the kernel believes.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use deadpeer_lab::{Direction, Impairment, Pair, Rejection};
use rustix::io::Errno;
use socket2::SockRef;

use crate::common::{FAMILIES, V4, linked, listen};

/// What connect(2) gets from each refusal, over IPv4 and over IPv6.
const REFUSALS: [(Rejection, Errno, Errno); 5] = [
    (Rejection::Reset, Errno::CONNREFUSED, Errno::CONNREFUSED),
    (Rejection::NetworkUnreachable, Errno::NETUNREACH, Errno::NETUNREACH),
    (Rejection::HostUnreachable, Errno::HOSTUNREACH, Errno::HOSTUNREACH),
    (Rejection::PortUnreachable, Errno::CONNREFUSED, Errno::CONNREFUSED),
    (Rejection::Prohibited, Errno::HOSTUNREACH, Errno::ACCESS),
];

fn expected(address: IpAddr, (_, v4, v6): (Rejection, Errno, Errno)) -> Option<i32> {
    Some(if address.is_ipv4() { v4 } else { v6 }.raw_os_error())
}

#[test]
fn a_refused_attempt_ends_with_its_error() {
    linked!(1, |link| {
        for address in FAMILIES {
            let (_listener, there) = listen(&link, address);
            for refusal in REFUSALS {
                let before = link.counters_for(address, Direction::LeftToRight).rejected;
                link.set(Direction::LeftToRight, Impairment::new().reject(refusal.0));
                let connected = link.left(|| TcpStream::connect_timeout(&there, Duration::from_secs(5)));
                assert_eq!(connected.unwrap_err().raw_os_error(), expected(address, refusal), "{refusal:?}");
                assert_eq!(link.counters_for(address, Direction::LeftToRight).rejected, before + 1);
            }
            link.heal();
        }
    });
}

#[test]
fn a_reset_ends_the_connection_of_the_sender_whichever_side_that_is() {
    linked!(1, |link| {
        for address in FAMILIES {
            for direction in [Direction::LeftToRight, Direction::RightToLeft] {
                let Pair { client, server } = Pair::across(&link, address).unwrap();
                let mut sender = if direction == Direction::LeftToRight { &client } else { &server };
                let mut other = if direction == Direction::LeftToRight { &server } else { &client };
                // Sequence numbers that have moved, in both directions.
                sender.write_all(&[1; 3000]).unwrap();
                other.read_exact(&mut [0; 3000]).unwrap();
                other.write_all(&[1; 3000]).unwrap();
                sender.read_exact(&mut [0; 3000]).unwrap();
                link.set(direction, Impairment::new().reject(Rejection::Reset));
                sender.write_all(b"hello").unwrap();
                sender.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let error = sender.read(&mut [0; 5]).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(Errno::CONNRESET.raw_os_error()));
                // The other end was not told, and its own packets pass the other way.
                other.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                assert_eq!(other.read(&mut [0; 5]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
                link.heal();
            }
        }
    });
}

#[test]
fn an_established_connection_takes_icmp_for_a_hint_that_names_the_error_at_its_end() {
    linked!(1, |link| {
        for address in FAMILIES {
            for refusal in [REFUSALS[1], REFUSALS[2]] {
                let mut pair = Pair::across(&link, address).unwrap();
                SockRef::from(&pair.client).set_tcp_user_timeout(Some(Duration::from_millis(700))).unwrap();
                link.set(Direction::LeftToRight, Impairment::new().reject(refusal.0));
                pair.client.write_all(b"hello").unwrap();
                pair.client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                let early = pair.client.read(&mut [0; 5]).unwrap_err();
                assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock, "it is no end yet");
                pair.client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let error = pair.client.read(&mut [0; 5]).unwrap_err();
                assert_eq!(error.raw_os_error(), expected(address, refusal), "not ETIMEDOUT");
                link.heal();
            }
        }
    });
}

#[test]
fn a_refusal_takes_as_long_as_the_path() {
    linked!(1, |link| {
        let (_listener, there) = listen(&link, V4);
        let late = Impairment::new().delay(Duration::from_millis(300)).reject(Rejection::Reset);
        link.set(Direction::LeftToRight, late);
        let start = std::time::Instant::now();
        link.left(|| TcpStream::connect(there)).unwrap_err();
        assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    });
}
