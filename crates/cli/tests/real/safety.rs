//! Asking must not end a connection that would otherwise have lived, neither now nor later.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{deadpeer, row, scan, verdict};
use deadpeer_lab::{Pair, isolated, sever};
use socket2::{SockRef, TcpKeepalive};

const SECOND: Duration = Duration::from_secs(1);

fn keepalive(stream: &TcpStream, idle: u64, interval: u64, probes: u32) {
    let values = TcpKeepalive::new()
        .with_time(SECOND * u32::try_from(idle).unwrap())
        .with_interval(SECOND * u32::try_from(interval).unwrap())
        .with_retries(probes);
    SockRef::from(stream).set_tcp_keepalive(&values).unwrap();
}

/// Asks in the background; the scan runs over all connections of the namespace.
fn asking() -> std::thread::JoinHandle<Vec<serde_json::Value>> {
    std::thread::spawn(|| scan(&["--probe"]))
}

/// The connection carries data both ways.
fn assert_lives(pair: &mut Pair) {
    for (from, to) in [(&pair.client, &pair.server), (&pair.server, &pair.client)] {
        let (mut from, mut to) = (from, to);
        from.write_all(b"still there?").unwrap();
        to.set_read_timeout(Some(SECOND * 5)).unwrap();
        let mut answer = [0; 12];
        to.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"still there?");
    }
}

#[test]
fn keepalive_3_2_3_survives_6_5_seconds_of_silence_while_asked() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        keepalive(&pair.client, 3, 2, 3);
        let severed = pair.sever().unwrap();
        sleep(SECOND * 2);
        let asking = asking();
        sleep(Duration::from_millis(4500));
        drop(severed);
        asking.join().unwrap();
        sleep(SECOND * 4); // past the moment at which a counted question would have ended it
        assert_lives(&mut pair);
    });
}

#[test]
fn keepalive_5_5_1_survives_a_question_lost_just_before_its_own_probe() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        keepalive(&pair.client, 5, 5, 1);
        sleep(Duration::from_millis(1500));
        let severed = pair.sever().unwrap();
        let asking = asking();
        sleep(SECOND * 3);
        drop(severed);
        asking.join().unwrap();
        sleep(SECOND * 7);
        assert_lives(&mut pair);
    });
}

#[test]
fn a_user_timeout_below_the_idle_time_does_not_end_what_was_asked() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        keepalive(&pair.client, 5, 1, 3);
        SockRef::from(&pair.client).set_tcp_user_timeout(Some(SECOND * 2)).unwrap();
        let severed = pair.sever().unwrap();
        let rows = asking().join().unwrap();
        drop(severed);
        let asked = row(&rows, pair.client.local_addr().unwrap());
        assert_eq!((asked["tries"].as_u64(), asked["probes_out"].as_u64()), (Some(3), Some(0)));
        sleep(SECOND * 3);
        assert_lives(&mut pair);
    });
}

#[test]
fn keepalive_that_the_owner_sets_after_we_asked_starts_from_nothing() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        let severed = pair.sever().unwrap();
        let rows = asking().join().unwrap();
        assert_eq!(verdict(row(&rows, pair.client.local_addr().unwrap())), "dead questions-unanswered");
        drop(severed);
        keepalive(&pair.client, 2, 2, 1);
        sleep(SECOND * 5);
        assert_lives(&mut pair);
    });
}

#[test]
fn data_in_flight_arrives_untouched() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let mut reader = pair.server.try_clone().unwrap();
        let mut writer = pair.client.try_clone().unwrap();
        let sent: Vec<u8> = (0..64u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let expected = sent.clone();
        let writing = std::thread::spawn(move || {
            for part in sent.chunks(1 << 16) {
                writer.write_all(part).unwrap();
                sleep(Duration::from_micros(500));
            }
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let asking = asking();
        let mut received = Vec::with_capacity(expected.len());
        reader.read_to_end(&mut received).unwrap();
        writing.join().unwrap();
        asking.join().unwrap();
        assert!(received == expected, "the bytes changed");
    });
}

#[test]
fn options_are_as_before() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let socket = SockRef::from(&pair.client);
        socket.set_reuse_address(true).unwrap();
        keepalive(&pair.client, 100, 50, 4);
        scan(&["--probe"]);
        assert!(socket.reuse_address().unwrap(), "SO_REUSEADDR is kept");
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SECOND * 100);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), SECOND * 50);
        assert!(socket.keepalive().unwrap());
    });
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_behind() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        keepalive(&pair.client, 2, 1, 2);
        let started = Instant::now();
        let mut moment = Duration::ZERO;
        while started.elapsed() < SECOND * 4 {
            let mut command = deadpeer();
            command.args(["scan", "--json", "--probe"]).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            sleep(moment);
            child.kill().unwrap();
            child.wait().unwrap();
            moment += Duration::from_micros(230);
        }
        let socket = SockRef::from(&pair.client);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SECOND * 2);
        assert!(socket.keepalive().unwrap());
        sleep(SECOND * 3);
        assert_lives(&mut pair);
    });
}

#[test]
fn without_the_right_keepalive_is_borrowed_once_and_given_back() {
    isolated!(|| {
        // Root's powers in this namespace end with a user namespace of the child's own.
        let mut pair = Pair::loopback().unwrap();
        let silent = Pair::loopback().unwrap();
        let protected = Pair::loopback().unwrap();
        keepalive(&protected.client, 100, 100, 9);
        let _severed = sever(&silent.client, &silent.server).unwrap();
        sleep(Duration::from_millis(1200));
        let output = std::process::Command::new("setpriv")
            .args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"])
            .arg(env!("CARGO_BIN_EXE_deadpeer"))
            .args(["scan", "--json", "--probe"])
            .output()
            .unwrap();
        let rows = crate::common::rows(&output);
        let of = |stream: &TcpStream| row(&rows, stream.local_addr().unwrap());
        assert_eq!(verdict(of(&pair.client)), "alive answered");
        assert_eq!(verdict(of(&silent.client)), "suspect questions-unanswered");
        assert_eq!(of(&silent.client)["tries"], 1);
        assert!(of(&protected.client)["unknown"]["probe_ms"].as_str().unwrap().contains("CAP_NET_ADMIN"));
        assert!(!SockRef::from(&pair.client).keepalive().unwrap(), "keepalive is off again");
        assert!(!SockRef::from(&silent.client).keepalive().unwrap(), "keepalive is off again");
        assert_eq!(SockRef::from(&silent.client).tcp_keepalive_interval().unwrap(), SECOND * 75);
        assert_lives(&mut pair);
    });
}
