//! The network carries what it should, loses what it should, and heals.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in helpers of tests")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use deadpeer_lab::{Direction, Network, Pair, Place, isolated};
use deadpeer_os::linux::namespace::NetworkNamespace;
use deadpeer_os::linux::rtnetlink::Rtnetlink;
use rustix::io::Errno;
use rustix::process::Pid;

const FAMILIES: [IpAddr; 2] = [IpAddr::V4(Network::RIGHT_V4[0]), IpAddr::V6(Network::RIGHT_V6[0])];
/// The way there and back takes microseconds.
const A_MOMENT: Duration = Duration::from_millis(150);
/// Covers some retransmissions.
const A_WHILE: Duration = Duration::from_secs(10);

fn says_and_is_heard(mut from: &TcpStream, mut to: &TcpStream, within: Duration) -> bool {
    from.write_all(b"hello").unwrap();
    to.set_read_timeout(Some(within)).unwrap();
    match to.read_exact(&mut [0; 5]) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

fn listen(network: &Network, address: IpAddr) -> (TcpListener, SocketAddr) {
    let listener = network.right(|| TcpListener::bind((address, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn connect(network: &Network, address: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    network.left(|| TcpStream::connect_timeout(&address, within))
}

/// How many TCP segments, and how many ICMP and ICMPv6 errors, have reached `place`.
fn received(network: &Network, place: Place) -> (u64, u64) {
    network
        .run(place, || {
            // Not /proc/net, which is that of the process's first thread.
            let v4 = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
            let v6 = std::fs::read_to_string("/proc/thread-self/net/snmp6")?;
            // snmp has a line of names, then one of numbers; snmp6 a name and a number a line.
            let column = |table: &str, name: &str| -> u64 {
                let mut rows = v4.lines().filter(|line| line.starts_with(table));
                let (names, numbers) = (rows.next().unwrap(), rows.next().unwrap());
                let at = names.split_whitespace().position(|field| field == name).unwrap();
                numbers.split_whitespace().nth(at).unwrap().parse().unwrap()
            };
            // All of ICMPv6's errors have types below 128; neighbour discovery, above, goes on.
            let v6_errors = v6
                .lines()
                .filter_map(|line| line.strip_prefix("Icmp6InType"))
                .map(|line| line.split_whitespace().map(|field| field.parse::<u64>().unwrap()))
                .filter_map(|mut fields| Some((fields.next()?, fields.next()?)))
                .filter(|(kind, _)| *kind < 128)
                .map(|(_, count)| count)
                .sum::<u64>();
            Ok((column("Tcp:", "InSegs"), column("Icmp:", "InMsgs") + v6_errors))
        })
        .unwrap()
}

#[test]
fn carries_both_families_to_every_address() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let all = Network::RIGHT_V4.map(IpAddr::from).into_iter().chain(Network::RIGHT_V6.map(IpAddr::from));
        let start = Instant::now();
        for address in all {
            let pair = Pair::across(&network, address).unwrap();
            assert!(says_and_is_heard(&pair.client, &pair.server, A_WHILE));
            assert!(says_and_is_heard(&pair.server, &pair.client, A_WHILE));
            assert_eq!(pair.server.local_addr().unwrap().ip(), address);
        }
        assert!(start.elapsed() < Duration::from_secs(1), "no first packet was lost: {:?}", start.elapsed());
    });
}

#[test]
fn a_cut_is_true_silence_and_heals() {
    isolated!(|| {
        let network = Network::new().unwrap();
        for address in FAMILIES {
            let pair = Pair::across(&network, address).unwrap();
            let (_listener, there) = listen(&network, address);
            let before = received(&network, Place::Left);

            let cut = network.cut(Direction::Both).unwrap();
            assert!(!says_and_is_heard(&pair.client, &pair.server, A_MOMENT));
            assert!(!says_and_is_heard(&pair.server, &pair.client, A_MOMENT));
            let error = connect(&network, there, A_MOMENT).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "not refused, not unreachable");
            assert_eq!(received(&network, Place::Left), before, "no segment, no ICMP");

            cut.heal().unwrap();
            connect(&network, there, A_WHILE).unwrap();
            assert!(says_and_is_heard(&pair.client, &pair.server, A_WHILE));
            assert!(says_and_is_heard(&pair.server, &pair.client, A_WHILE));
        }
    });
}

#[test]
fn a_cut_in_one_direction_leaves_the_other() {
    isolated!(|| {
        let network = Network::new().unwrap();
        for address in FAMILIES {
            let pair = Pair::across(&network, address).unwrap();
            let cut = network.cut(Direction::LeftToRight).unwrap();
            assert!(!says_and_is_heard(&pair.client, &pair.server, A_MOMENT));
            assert!(says_and_is_heard(&pair.server, &pair.client, A_MOMENT));
            drop(cut);

            let pair = Pair::across(&network, address).unwrap();
            let _cut = network.cut(Direction::RightToLeft).unwrap();
            assert!(says_and_is_heard(&pair.client, &pair.server, A_MOMENT));
            assert!(!says_and_is_heard(&pair.server, &pair.client, A_MOMENT));
        }
    });
}

#[test]
fn cutting_off_one_address_leaves_the_others() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let others = [IpAddr::V4(Network::RIGHT_V4[1]), IpAddr::V6(Network::RIGHT_V6[1])];
        for (address, other) in FAMILIES.into_iter().zip(others) {
            let lost = Pair::across(&network, address).unwrap();
            let kept = Pair::across(&network, other).unwrap();
            let _cut = network.cut_off(address).unwrap();
            assert!(!says_and_is_heard(&lost.client, &lost.server, A_MOMENT));
            assert!(!says_and_is_heard(&lost.server, &lost.client, A_MOMENT));
            assert!(says_and_is_heard(&kept.client, &kept.server, A_WHILE));
            assert!(says_and_is_heard(&kept.server, &kept.client, A_WHILE));
        }
    });
}

#[test]
fn overlapping_cuts_heal_in_any_order() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let address = FAMILIES[0];
        let (_listener, there) = listen(&network, address);
        let first = network.cut(Direction::Both).unwrap();
        let second = network.cut(Direction::Both).unwrap();
        let third = network.cut_off(address).unwrap();
        for cut in [first, second] {
            drop(cut);
            assert_eq!(connect(&network, there, A_MOMENT).unwrap_err().kind(), ErrorKind::TimedOut);
        }
        drop(third);
        connect(&network, there, A_WHILE).unwrap();
    });
}

#[test]
fn an_unreachable_peer_is_reported_by_the_router() {
    isolated!(|| {
        let network = Network::new().unwrap();
        for address in FAMILIES {
            let (_listener, there) = listen(&network, address);
            let unreachable = network.unreachable(Direction::LeftToRight).unwrap();
            let (_, errors) = received(&network, Place::Left);
            let error = connect(&network, there, A_WHILE).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::NETUNREACH.raw_os_error()));
            assert!(received(&network, Place::Left).1 > errors);
            unreachable.heal().unwrap();
            connect(&network, there, A_WHILE).unwrap();
        }
    });
}

#[test]
fn an_unplugged_cable_takes_the_carrier_and_gives_it_back() {
    isolated!(|| {
        let network = Network::new().unwrap();
        for place in [Place::Left, Place::Right] {
            let has_carrier = || {
                network
                    .run(place, || Rtnetlink::open().unwrap().has_carrier("eth0").map_err(io::Error::other))
            };
            assert!(has_carrier().unwrap());
            let unplugged = network.unplug(place).unwrap();
            assert!(!has_carrier().unwrap());
            for address in FAMILIES {
                let (_listener, there) = listen(&network, address);
                assert!(connect(&network, there, A_MOMENT).is_err());
            }
            unplugged.replug().unwrap();
            assert!(has_carrier().unwrap());
            for address in FAMILIES {
                let (_listener, there) = listen(&network, address);
                let start = Instant::now();
                connect(&network, there, A_WHILE).unwrap();
                assert!(start.elapsed() < Duration::from_millis(900), "no first packet was lost");
            }
        }
        assert_eq!(network.unplug(Place::Router).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn programs_run_where_they_were_started() {
    isolated!(|| {
        let network = Network::new().unwrap();
        for place in [Place::Left, Place::Router, Place::Right] {
            let mut program = network.spawn(place, Command::new("cat").stdin(Stdio::piped())).unwrap();
            let theirs = NetworkNamespace::of_process(Pid::from_child(&program)).unwrap();
            let inside = network.namespace(place).identity().unwrap();
            assert_eq!(theirs.identity().unwrap(), inside);
            assert_ne!(NetworkNamespace::current().unwrap().identity().unwrap(), inside);
            drop(program.stdin.take());
            assert!(program.wait().unwrap().success());
        }
    });
}
