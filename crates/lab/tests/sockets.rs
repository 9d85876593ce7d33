//! Deaf sockets, severed connections, shut windows.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in helpers of tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use deadpeer_lab::{Pair, deafen, fill, isolated};
use deadpeer_os::linux::sockopt::{self, SO_DETACH_FILTER};

/// Long enough for loopback, which takes microseconds, on a busy machine.
const A_MOMENT: Duration = Duration::from_millis(100);
/// Covers some retransmissions: the first comes after 200 ms, each next after twice the time.
const A_WHILE: Duration = Duration::from_secs(10);

fn hears(mut stream: &TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    match stream.read(&mut [0; 64]) {
        Ok(length) => length > 0,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

#[test]
fn a_deaf_socket_hears_nothing_and_then_hears_again() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        let deaf = deafen(&pair.server).unwrap();
        pair.client.write_all(b"hello").unwrap();
        assert!(!hears(&pair.server, A_MOMENT));
        drop(deaf);
        assert!(hears(&pair.server, A_WHILE), "the retransmission is heard");
    });
}

#[test]
fn a_deaf_socket_counts_what_was_kept_from_it() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        let deaf = deafen(&pair.server).unwrap();
        assert!(!deaf.await_drop(A_MOMENT).unwrap(), "nothing was sent");
        pair.client.write_all(b"hello").unwrap();
        assert!(deaf.await_drop(A_WHILE).unwrap());
    });
}

#[test]
fn a_deaf_socket_can_still_send() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let mut server = &pair.server;
        let _deaf = deafen(&pair.server).unwrap();
        server.write_all(b"I am here").unwrap();
        assert!(hears(&pair.client, A_WHILE));
    });
}

#[test]
fn both_ends_of_a_severed_connection_hear_nothing() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        pair.client.write_all(b"before").unwrap();
        assert!(hears(&pair.server, A_WHILE));
        let (mut client, mut server) = (&pair.client, &pair.server);
        let severed = pair.sever().unwrap();
        client.write_all(b"after").unwrap();
        server.write_all(b"after").unwrap();
        assert!(!hears(&pair.server, A_MOMENT) && !hears(&pair.client, A_MOMENT));
        drop(severed);
        assert!(hears(&pair.server, A_WHILE) && hears(&pair.client, A_WHILE));
    });
}

#[test]
fn a_deaf_listener_leaves_a_connect_unanswered() {
    isolated!(|| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let deaf = deafen(&listener).unwrap();
        assert_eq!(TcpStream::connect_timeout(&address, A_MOMENT).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(deaf);
        TcpStream::connect_timeout(&address, A_WHILE).unwrap();
    });
}

#[test]
fn no_filter_stays_behind() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        drop(pair.sever().unwrap());
        for end in [&pair.client, &pair.server] {
            let error = sockopt::set(end.as_fd(), SO_DETACH_FILTER, 0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
    });
}

#[test]
fn a_filled_stream_takes_nothing_more_until_the_peer_reads() {
    let mut pair = Pair::loopback().unwrap();
    let written = fill(&pair.client).unwrap();
    assert!(written > 0);
    pair.client.set_write_timeout(Some(A_MOMENT)).unwrap();
    assert_eq!(pair.client.write(&[1; 1 << 20]).unwrap_err().kind(), ErrorKind::WouldBlock);

    let mut received = vec![1; written];
    pair.server.set_read_timeout(Some(A_WHILE)).unwrap();
    pair.server.read_exact(&mut received).unwrap();
    assert!(received.iter().all(|&byte| byte == 0), "the bytes that were counted are those that were sent");
}
