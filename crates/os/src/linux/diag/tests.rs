//! The parser against bytes, and the whole against this kernel.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use deadpeer_core::{Known, Timer};
use proptest::prelude::*;

use super::*;

/// An ESTABLISHED IPv4 socket with a retransmission timer, as Linux 6.18 lists one, TCP_INFO cut short.
fn message() -> Vec<u8> {
    let mut bytes = vec![libc::AF_INET as u8, 1, 1, 3];
    bytes.extend(8080u16.to_be_bytes());
    bytes.extend(443u16.to_be_bytes());
    bytes.extend([10, 0, 0, 1]);
    bytes.extend([0; 12]);
    bytes.extend([10, 0, 0, 2]);
    bytes.extend([0; 12]);
    bytes.extend(0u32.to_ne_bytes()); // interface
    bytes.extend(77u64.to_ne_bytes()); // cookie
    for word in [150u32, 5, 3000, 1000, 4242] {
        bytes.extend(word.to_ne_bytes()); // expires, rqueue, wqueue, uid, inode
    }
    let mut info = vec![0u8; 148];
    info[0] = 1;
    info[2] = 3; // retransmits
    info[4] = 3; // backoff
    info[8..12].copy_from_slice(&1_600_000u32.to_ne_bytes()); // rto, µs
    info[52..56].copy_from_slice(&5000u32.to_ne_bytes()); // last_data_recv, ms
    info[56..60].copy_from_slice(&4000u32.to_ne_bytes()); // last_ack_recv, ms
    info[144..148].copy_from_slice(&2000u32.to_ne_bytes()); // notsent_bytes
    bytes.extend(u16::try_from(info.len() + 4).unwrap().to_ne_bytes());
    bytes.extend(2u16.to_ne_bytes());
    bytes.extend(info);
    bytes
}

#[test]
fn a_row_says_what_the_bytes_say() {
    let row = parse_row(&message()).unwrap();
    assert_eq!(row.local.to_string(), "10.0.0.1:8080");
    assert_eq!(row.peer.to_string(), "10.0.0.2:443");
    assert_eq!((row.cookie, row.inode, row.uid), (Cookie(77), 4242, 1000));
    let facts = row.facts;
    assert_eq!(facts.timer, Timer::Retransmit(Duration::from_millis(150)));
    assert_eq!(facts.last_heard, Known::Is(Duration::from_secs(4)));
    assert_eq!((facts.in_flight, facts.unsent, facts.unread), (1000, 2000, 5));
    assert_eq!((facts.retransmits, facts.backoff), (3, 3));
    // Beyond the 148 bytes that this kernel wrote.
    assert!(facts.own_window.why().is_some());
}

#[test]
fn an_expiry_in_the_past_is_due_now() {
    let mut bytes = message();
    bytes[52..56].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(parse_row(&bytes).unwrap().facts.timer, Timer::Retransmit(Duration::ZERO));
}

/// One attribute, as netlink writes it.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn what_chooses_the_route_is_read_where_it_is_told() {
    let untold = parse_row(&message()).unwrap();
    assert_eq!(untold.routing, Routing::default());
    assert_eq!(untold.routing.mark, Known::Not(deadpeer_core::Why::NoNetAdmin));
    let mut bytes = message();
    bytes.extend(attribute(15, &77u32.to_ne_bytes()));
    bytes.extend(attribute(5, &[0x48]));
    bytes.extend(attribute(6, &[0xb8])); // of an IPv6 socket, which speaks IPv4 here
    bytes.extend(attribute(22, &[if cfg!(target_endian = "little") { 0x20 } else { 0x04 }, 0]));
    let row = parse_row(&bytes).unwrap();
    assert_eq!(row.routing, Routing { mark: Known::Is(77), tos: 0x48, transparent: true });
    assert_eq!((row.flow().mark, row.flow().tos), (77, 0x48));
    let short = [message(), attribute(15, &[1])].concat();
    assert!(parse_row(&short).is_err());
}

#[test]
fn the_kernel_tells_what_chooses_the_route_of_a_socket() {
    deadpeer_lab::isolated!(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let marked = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        marked.set_mark(42).unwrap();
        marked.set_tos_v4(0x48).unwrap();
        marked.set_ip_transparent_v4(true).unwrap();
        marked.connect(&listener.local_addr().unwrap().into()).unwrap();
        let row = Diag::open().unwrap().own(marked.as_fd()).unwrap().unwrap();
        assert_eq!(row.routing, Routing { mark: Known::Is(42), tos: 0x48, transparent: true });
        let plain = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let row = Diag::open().unwrap().own(plain.as_fd()).unwrap().unwrap();
        assert_eq!(row.routing, Routing { mark: Known::Is(0), tos: 0, transparent: false });
    });
}

#[test]
fn a_socket_that_is_bound_to_a_device_is_found() {
    deadpeer_lab::isolated!(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        bound.bind_device(Some(b"lo")).unwrap();
        bound.connect(&listener.local_addr().unwrap().into()).unwrap();
        let row = Diag::open().unwrap().own(bound.as_fd()).unwrap().expect("it is connected");
        assert_eq!(row.interface, 1, "lo");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_row(&bytes);
        for message in super::super::netlink::Messages::new(&bytes).flatten() {
            let _ = parse_row(message.payload);
        }
    }

    #[test]
    fn a_mutated_message_is_an_error_or_a_row(
        changes in proptest::collection::vec((0usize..224, any::<u8>()), 1..8),
        length in 0usize..=224,
    ) {
        let mut bytes = message();
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Ok(row) = parse_row(&bytes[..length]) {
            let _ = deadpeer_core::judge(&row.facts, &deadpeer_core::Rules::default());
        }
    }
}

#[test]
fn the_kernel_lists_a_connection_and_finds_it_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let mut diag = Diag::open().unwrap();
    let mut ours = None;
    diag.dump(Family::V4, States::ALL, |row| {
        if row.local == client.local_addr().unwrap() && row.peer == server.local_addr().unwrap() {
            ours = Some(row);
        }
    })
    .unwrap();
    let ours = ours.expect("our own connection is listed");
    assert_eq!(ours.cookie.0, rustix::net::sockopt::socket_cookie(client.as_fd()).unwrap());
    assert_eq!(ours.facts.state, TcpState::Established);
    assert_eq!(diag.again(&ours).unwrap().map(|row| row.cookie), Some(ours.cookie));
    drop((client, server));
    let gone = diag.again(&ours).unwrap();
    assert!(gone.is_none_or(|row| row.facts.state != TcpState::Established), "closed by now");
    // The socket still works after a refusal.
    diag.dump(Family::V6, States::only([TcpState::Listen]), |_| ()).unwrap();
}
