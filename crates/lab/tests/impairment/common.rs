//! Links, and traffic over them.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_lab::{ImpairedLink, skip};

pub(crate) const V4: IpAddr = IpAddr::V4(ImpairedLink::RIGHT_V4[0]);
pub(crate) const V6: IpAddr = IpAddr::V6(ImpairedLink::RIGHT_V6[0]);
pub(crate) const FAMILIES: [IpAddr; 2] = [V4, V6];
/// The way there and back takes microseconds.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(150);
/// Covers some retransmissions.
pub(crate) const A_WHILE: Duration = Duration::from_secs(10);

/// Runs `body` with a link of this seed; says that the test is skipped where there can be none.
pub(crate) fn with_link(test: &str, seed: u64, body: impl FnOnce(ImpairedLink)) {
    match ImpairedLink::with_seed(seed) {
        Ok(link) => body(link),
        Err(unavailable) => skip(test, &unavailable),
    }
}

/// An isolated test with a link: `linked!(seed, |link| …)`.
macro_rules! linked {
    ($seed:expr, $body:expr) => {{
        fn here() {}
        let test = deadpeer_lab::test_name(&here);
        deadpeer_lab::isolated(test, || crate::common::with_link(test, $seed, $body));
    }};
}
pub(crate) use linked;

/// Whether what one end says arrives at the other within `patience`.
pub(crate) fn arrives(mut from: &TcpStream, mut to: &TcpStream, bytes: usize, patience: Duration) -> bool {
    from.write_all(&vec![7; bytes]).unwrap();
    to.set_read_timeout(Some(patience)).unwrap();
    match to.read_exact(&mut vec![0; bytes]) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

pub(crate) fn listen(link: &ImpairedLink, address: IpAddr) -> (TcpListener, SocketAddr) {
    let listener = link.right(|| TcpListener::bind((address, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A datagram socket in each host, the left one connected to the right one. (UDP shows each packet as it arrives.)
pub(crate) fn datagrams(link: &ImpairedLink, peer: IpAddr) -> (UdpSocket, UdpSocket) {
    let right = link.right(|| UdpSocket::bind((peer, 0))).unwrap();
    let any: IpAddr = if peer.is_ipv4() { "0.0.0.0".parse().unwrap() } else { "::".parse().unwrap() };
    let left = link.left(|| UdpSocket::bind((any, 0))).unwrap();
    left.connect(right.local_addr().unwrap()).unwrap();
    right.set_nonblocking(true).unwrap();
    (left, right)
}

pub(crate) fn send_number(socket: &UdpSocket, number: u32) {
    assert_eq!(socket.send(&number.to_be_bytes()).unwrap(), 4);
}

/// The numbers that have arrived.
pub(crate) fn take_numbers(socket: &UdpSocket) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        let mut bytes = [0; 4];
        match socket.recv(&mut bytes) {
            Ok(length) => {
                assert_eq!(length, 4);
                numbers.push(u32::from_be_bytes(bytes));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return numbers,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until it is so.
pub(crate) fn until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < A_WHILE, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
