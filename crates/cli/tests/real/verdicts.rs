//! What the real binary says of real connections with real faults.

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{deadpeer, row, scan, verdict};
use deadpeer_lab::{Direction, Network, Pair, Place, fill, isolated};

fn right(n: usize) -> std::net::IpAddr {
    Network::RIGHT_V4[n].into()
}

#[test]
fn each_fate_gets_its_verdict() {
    isolated!(|| {
        let living = Pair::loopback().unwrap();
        let silent = Pair::loopback().unwrap();
        let leaked = Pair::loopback().unwrap();
        let stalled = Pair::loopback().unwrap();
        leaked.server.shutdown(Shutdown::Both).unwrap();
        fill(&stalled.client).unwrap();
        let _severed = silent.sever().unwrap();
        sleep(Duration::from_secs(2));
        let rows = scan(&["--probe", "--stalled-after", "1s", "--leaked-after", "1s", "--sort", "verdict"]);
        let local = |pair: &Pair| pair.client.local_addr().unwrap();
        assert_eq!(verdict(row(&rows, local(&living))), "alive answered");
        assert_eq!(verdict(row(&rows, local(&silent))), "dead questions-unanswered");
        assert_eq!(verdict(row(&rows, local(&leaked))), "leaked peer-closed");
        assert_eq!(verdict(row(&rows, local(&stalled))), "stalled shut-window");
        // The other side of the stall: a program that does not read.
        let unread = row(&rows, stalled.server.local_addr().unwrap());
        assert!(rows.iter().any(|r| r["cause"] == "unread-queue"), "{unread:#}");
        // The worst first.
        assert_eq!(rows[0]["verdict"], "dead");
        let dead = row(&rows, local(&silent));
        assert_eq!(dead["pid"], std::process::id());
        assert_eq!(dead["tries"], 3);
        assert_eq!(dead["probes_out"], 0, "no question stays counted");
        assert!(row(&rows, local(&living))["probe_ms"].as_f64().unwrap() < 1000.0);
    });
}

#[test]
fn a_peer_that_refuses_what_its_window_allowed_stalls() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        // The window that the peer has told is larger than what its buffer may hold now.
        socket2::SockRef::from(&pair.server).set_recv_buffer_size(2304).unwrap();
        (&pair.client).write_all(&[0; 64 * 1024]).unwrap();
        sleep(Duration::from_secs(3));
        let rows = scan(&["--stalled-after", "1s"]);
        let row = row(&rows, pair.client.local_addr().unwrap());
        if row["retransmits"] != 0 {
            // An old kernel drops such data without an answer.
            return eprintln!("skipped: this kernel does not tell a smaller window");
        }
        assert_eq!(verdict(row), "stalled shut-window", "{row:#}");
    });
}

#[test]
fn a_router_that_stops_forwarding_and_forwards_again() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let cut_off = Pair::across(&network, right(0)).unwrap();
        let v6 = Pair::across(&network, Network::RIGHT_V6[0].into()).unwrap();
        let other = Pair::across(&network, right(1)).unwrap();
        let ask = || {
            let mut command = deadpeer();
            command.args(["scan", "--json", "--probe"]);
            let child = network.spawn(Place::Left, command.stdout(std::process::Stdio::piped())).unwrap();
            output(child)
        };
        let local = |pair: &Pair| pair.client.local_addr().unwrap();
        let cut = network.cut_off(right(0)).unwrap();
        let rows = ask();
        assert_eq!(verdict(row(&rows, local(&cut_off))), "dead questions-unanswered");
        assert_eq!(verdict(row(&rows, local(&other))), "alive answered");
        assert_eq!(verdict(row(&rows, local(&v6))), "alive answered");
        cut.heal().unwrap();
        assert_eq!(verdict(row(&ask(), local(&cut_off))), "alive answered");
        // Everybody behind the router is silent: that may be our own way.
        let cut = network.cut(Direction::Both).unwrap();
        let rows = ask();
        assert_eq!(verdict(row(&rows, local(&cut_off))), "suspect local-path");
        assert_eq!(verdict(row(&rows, local(&other))), "suspect local-path");
        drop(cut);
        let unplugged = network.unplug(Place::Left).unwrap();
        assert_eq!(verdict(row(&ask(), local(&cut_off))), "suspect local-path");
        unplugged.replug().unwrap();
        assert_eq!(verdict(row(&ask(), local(&cut_off))), "alive answered");
    });
}

/// Reads what a program in a namespace printed, to its end.
pub(crate) fn output(mut program: deadpeer_lab::Program) -> Vec<serde_json::Value> {
    use std::io::Read;
    let mut text = String::new();
    program.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(program.wait().unwrap().success());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_peer_that_comes_back_within_the_tries_is_not_dead() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let severed = pair.sever().unwrap();
        let asking = std::thread::spawn(|| scan(&["--probe"]));
        sleep(Duration::from_millis(1500));
        drop(severed);
        let rows = asking.join().unwrap();
        assert_eq!(verdict(row(&rows, pair.client.local_addr().unwrap())), "alive answered");
    });
}

#[test]
fn retransmissions_alone_prove_no_death_and_questions_do() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        pair.client.write_all(&[7; 1448]).unwrap();
        sleep(Duration::from_millis(100));
        let before = scan(&[]);
        assert_eq!(verdict(row(&before, pair.client.local_addr().unwrap())), "alive heard");
        let (client, server) = (pair.client.try_clone().unwrap(), pair.server.try_clone().unwrap());
        let _severed = deadpeer_lab::sever(&client, &server).unwrap();
        pair.client.write_all(&[7; 1448]).unwrap();
        let silent_since = Instant::now();
        let seen = |wanted: &str| loop {
            let rows = scan(&[]);
            let row = row(&rows, pair.client.local_addr().unwrap());
            if verdict(row).starts_with(wanted) {
                return row.clone();
            }
            assert!(silent_since.elapsed() < Duration::from_secs(20), "not {wanted}: {row}");
            sleep(Duration::from_millis(50));
        };
        let early = seen("suspect");
        assert_eq!(early["cause"], "retransmissions-unanswered");
        assert!(early["evidence"][0]["text"].as_str().unwrap().contains("of 1448 bytes unanswered"));
        // Linux 6.1 leaves data unanswered that finds no room: the peer lives, and only questions tell.
        while silent_since.elapsed() < Duration::from_secs(8) {
            let row = seen("suspect");
            assert_eq!(row["cause"], "retransmissions-unanswered");
            sleep(Duration::from_millis(500));
        }
        let late = seen("suspect");
        assert!(late["evidence"].to_string().contains("only questions prove"), "{late:#}");
        let rows = scan(&["--probe"]);
        let asked = row(&rows, pair.client.local_addr().unwrap());
        assert_eq!(verdict(asked), "dead questions-unanswered", "{asked:#}");
    });
}

#[test]
fn a_listener_that_nobody_serves_is_stalled() {
    isolated!(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _waiting = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sleep(Duration::from_millis(1100));
        let rows = scan(&["--listeners", "--stalled-after", "1s"]);
        let row = rows.iter().find(|row| row["state"] == "listen").unwrap();
        assert_eq!(verdict(row), "stalled accept-queue");
        assert_eq!(row["evidence"][0]["waiting"], 1);
        // A filter never changes a verdict, though the waiting connections are not listed.
        let filtered = scan(&["--stalled-after", "1s", "state:listen"]);
        assert_eq!(filtered.len(), 1, "{filtered:#?}");
        assert_eq!(verdict(&filtered[0]), "stalled accept-queue");
    });
}

#[test]
fn a_reset_in_answer_is_the_peers_own_act() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let pair = Pair::across(&network, right(0)).unwrap();
        // The peer's host has rebooted: its end is gone and it never told.
        let cut = network.cut(Direction::Both).unwrap();
        let linger = socket2::SockRef::from(&pair.server).set_linger(Some(Duration::ZERO));
        linger.unwrap();
        let local = pair.client.local_addr().unwrap();
        drop(pair.server);
        cut.heal().unwrap();
        let mut command = deadpeer();
        command.args(["scan", "--json", "--probe"]).stdout(std::process::Stdio::piped());
        let rows = output(network.spawn(Place::Left, &mut command).unwrap());
        let reset = row(&rows, local);
        assert_eq!(verdict(reset), "dead reset");
        assert_eq!(reset["state"], "close");
    });
}
