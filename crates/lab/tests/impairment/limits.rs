//! Many packets, many connections, and what is left afterwards.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_lab::{Chance, Direction, ImpairedLink, Impairment, Pair, Side, isolated};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::common::{A_MOMENT, A_WHILE, V4, arrives, datagrams, linked, send_number, until};

#[test]
fn two_thousand_connections_over_a_delay() {
    const CONNECTIONS: usize = 2000;
    linked!(1, |link| {
        let most = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
        link.set(Direction::Both, Impairment::new().delay(Duration::from_millis(100)));
        let listener = link.right(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((ImpairedLink::RIGHT_V4[0], 0)).into())?;
            socket.listen(4096)?; // std's 128 would drop most of so many at once
            Ok(TcpListener::from(socket))
        });
        let listener = listener.unwrap();
        let there = listener.local_addr().unwrap().into();
        let clients = link.left(|| {
            let connect = |_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                let begun = socket.connect(&there).unwrap_err();
                assert_eq!(begun.raw_os_error(), Some(Errno::INPROGRESS.raw_os_error()));
                socket.set_nonblocking(false)?;
                Ok(TcpStream::from(socket))
            };
            (0..CONNECTIONS).map(connect).collect::<io::Result<Vec<_>>>()
        });
        let clients = clients.unwrap();
        let servers: Vec<_> = clients.iter().map(|_| listener.accept().unwrap().0).collect();
        for mut client in &clients {
            client.write_all(b"hello").unwrap();
        }
        for mut server in &servers {
            server.read_exact(&mut [0; 5]).unwrap();
        }
        let counters = link.counters(Direction::Both);
        assert!(counters.passed as usize >= CONNECTIONS * 4, "{counters:?}");
        for side in [Side::Left, Side::Right] {
            assert_eq!(dropped_by_the_kernel(&link, side), 0);
        }
    });
}

/// How many packets found no room in the queue of a host's device.
fn dropped_by_the_kernel(link: &ImpairedLink, side: Side) -> u64 {
    let devices = link.run(side, || fs::read_to_string("/proc/thread-self/net/dev")).unwrap();
    let device = devices.lines().find_map(|line| line.trim().strip_prefix("tun0:")).unwrap();
    // Eight numbers of what was received; of what was sent the bytes, packets, errors and drops.
    device.split_whitespace().nth(8 + 3).unwrap().parse().unwrap()
}

#[test]
fn a_flood_passes_or_is_dropped_where_the_kernel_counts_it() {
    linked!(1, |link| {
        let (left, right) = datagrams(&link, V4);
        drop(right); // nobody reads: the kernel answers some of it with ICMP
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < Duration::from_secs(1) {
            // An ICMP error of an earlier one may be told here.
            sent += u64::from(left.send(&[0; 100]).is_ok());
        }
        let passed = || link.counters(Direction::LeftToRight).passed;
        let dropped = || dropped_by_the_kernel(&link, Side::Left);
        until("what did not pass was dropped in the device's queue", || passed() + dropped() == sent);
        println!("{sent} sent, {} passed, {} dropped by the kernel", passed(), dropped());
        let passed = passed();
        assert!(passed > 10_000, "{passed} packets in a second");
    });
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    linked!(1, |link| {
        let (left, _right) = datagrams(&link, V4);
        link.set(Direction::LeftToRight, Impairment::new().delay(Duration::from_secs(3600)));
        let start = Instant::now();
        while link.counters(Direction::LeftToRight).overflowed == 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "{} under way", link.under_way());
            left.send(&[0; 1400]).unwrap();
        }
        assert!(link.under_way() * 1400 < ImpairedLink::ROOM);
        assert!(link.under_way() * 1600 > ImpairedLink::ROOM, "{}", link.under_way());
        // What needs no room passes.
        link.heal();
        let pair = Pair::across(&link, V4).unwrap();
        drop(pair);
        let start = Instant::now();
        drop(link);
        assert!(start.elapsed() < Duration::from_secs(1), "dropping it waits for nothing");
    });
}

/// The threads and the descriptors of this process.
fn owned() -> (usize, usize) {
    (fs::read_dir("/proc/self/task").unwrap().count(), fs::read_dir("/proc/self/fd").unwrap().count())
}

#[test]
fn dropping_a_link_leaves_nothing_behind() {
    linked!(1, |link| {
        drop(link);
        let before = owned();
        for _ in 0..5 {
            let link = ImpairedLink::new().unwrap();
            assert_ne!(owned(), before);
            link.set(Direction::Both, Impairment::new().delay(Duration::from_secs(5)));
            let socket = link.left(|| UdpSocket::bind((ImpairedLink::LEFT_V4, 0))).unwrap();
            socket.connect((V4, 9)).unwrap();
            send_number(&socket, 1);
            until("it is under way", || link.under_way() == 1);
        }
        assert_eq!(owned(), before);
    });
}

#[test]
fn a_device_that_is_down_or_deleted_ends_no_test() {
    linked!(1, |link| {
        let ip = |args: &[&str]| {
            assert!(link.spawn(Side::Left, Command::new("ip").args(args)).unwrap().wait().unwrap().success());
        };
        let pair = Pair::across(&link, V4).unwrap();
        ip(&["link", "set", "tun0", "down"]);
        assert!(!arrives(&pair.server, &pair.client, 5, A_MOMENT));
        until("it was dropped", || link.counters(Direction::RightToLeft).dropped > 0);
        let before = processor_time();
        thread::sleep(A_MOMENT);
        assert!(processor_time() - before < A_MOMENT / 3, "the thread waits");
        ip(&["link", "set", "tun0", "up"]);
        assert!(arrives(&pair.server, &pair.client, 0, A_WHILE));
        ip(&["link", "delete", "tun0"]);
        // There is nothing left to carry packets from.
        drop(link);
    });
}

/// What this process has used up to now.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn a_delay_without_end_is_bounded() {
    linked!(1, |link| {
        let (left, _right) = datagrams(&link, V4);
        let endless = Impairment::new().delay(Duration::MAX).jitter(Duration::MAX);
        link.set(Direction::LeftToRight, endless.reorder(Chance::ALWAYS, Duration::MAX));
        send_number(&left, 1);
        until("it is under way", || link.under_way() == 1);
        link.heal();
        send_number(&left, 2);
        until("the path still works", || link.counters(Direction::LeftToRight).passed == 1);
    });
}

#[test]
fn a_connection_outlives_the_link_and_meets_silence() {
    linked!(1, |link| {
        let mut pair = Pair::across(&link, V4).unwrap();
        drop(link);
        // The device is gone, and with it the route.
        let _ = pair.client.write_all(b"hello");
        pair.server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(pair.server.read(&mut [0; 5]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
}

const INNER: &str = "DEADPEER_LAB_TEST_OF_UNAVAILABLE";

/// Runs this test again by `command`, and returns what it says.
fn again(test: &str, command: &mut Command) -> String {
    let output = command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INNER, "1")
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn without_the_device_or_the_rights_the_reason_is_told() {
    const TEST: &str = "limits::without_the_device_or_the_rights_the_reason_is_told";
    if std::env::var_os(INNER).is_some() {
        println!("{}", ImpairedLink::new().unwrap_err());
        return;
    }
    isolated!(|| {
        let hide = "mount -t tmpfs none /dev/net && exec \"$0\" \"$@\"";
        let told = again(TEST, Command::new("unshare").args(["-m", "sh", "-c", hide]));
        assert!(told.contains("opening /dev/net/tun: No such file or directory"), "{told}");
        assert!(told.contains("an impaired link needs CAP_SYS_ADMIN"), "{told}");
        let told = again(TEST, Command::new("setpriv").args(["--inh-caps=-all", "--bounding-set=-all"]));
        assert!(told.contains("Operation not permitted"), "{told}");
    });
}
