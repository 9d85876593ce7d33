//! Loss by chance, and what TCP makes of it.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use deadpeer_lab::{Chance, Direction, ImpairedLink, Impairment, Pair};

use crate::common::{FAMILIES, V4, datagrams, linked, send_number, take_numbers, until};

const SENT: u32 = 2000;

/// Which of `SENT` numbers arrive at a peer at a loss of 10 %.
fn survivors(link: &ImpairedLink, peer: IpAddr) -> Vec<u32> {
    link.set(Direction::LeftToRight, Impairment::new().lose(Chance::percent(10)));
    let (left, right) = datagrams(link, peer);
    let mut numbers = Vec::new();
    for number in 0..SENT {
        send_number(&left, number);
        if number % 100 == 99 {
            until("all are decided on", || {
                let counters = link.counters_for(peer, Direction::LeftToRight);
                counters.passed + counters.lost == u64::from(number) + 1
            });
            numbers.extend(take_numbers(&right));
        }
    }
    numbers
}

#[test]
fn losses_follow_from_the_seed_and_come_at_their_rate() {
    linked!(42, |link| {
        assert_eq!(link.seed(), 42);
        let first = survivors(&link, V4);
        let lost = SENT - first.len() as u32;
        // 200 expected, 13 the standard deviation.
        assert!((140..=260).contains(&lost), "{lost} of {SENT}");
        assert_eq!(link.counters_for(V4, Direction::LeftToRight).lost, u64::from(lost));
        // Another address meets other numbers, and the same again on a link of the same seed, whatever went before.
        let other: IpAddr = ImpairedLink::RIGHT_V4[1].into();
        let second = survivors(&link, other);
        assert_ne!(first, second);
        let again = ImpairedLink::with_seed(42).unwrap();
        assert_eq!(survivors(&again, other), second);
        assert_eq!(survivors(&again, V4), first);
        let another = ImpairedLink::with_seed(43).unwrap();
        assert_ne!(survivors(&another, V4), first);
    });
}

#[test]
fn a_stream_arrives_whole_over_a_path_that_does_everything_to_it() {
    linked!(3, |link| {
        let bad = Impairment::new()
            .lose(Chance::percent(3))
            .duplicate(Chance::percent(10))
            .reorder(Chance::percent(10), Duration::from_millis(3))
            .jitter(Duration::from_millis(1));
        link.set(Direction::Both, bad);
        thread::scope(|scope| {
            for address in FAMILIES {
                let link = &link;
                scope.spawn(move || {
                    const LENGTH: usize = 1 << 20;
                    let sent: Vec<u8> = (0..LENGTH).map(|at| (at * 31 % 251) as u8).collect();
                    let Pair { mut client, mut server } = Pair::across(link, address).unwrap();
                    let received = thread::spawn(move || {
                        let mut received = Vec::with_capacity(LENGTH);
                        server.read_to_end(&mut received).map(|_| received)
                    });
                    client.write_all(&sent).unwrap();
                    drop(client);
                    assert!(received.join().unwrap().unwrap() == sent, "the bytes are others");
                });
            }
        });
        let counters = link.counters(Direction::Both);
        for happened in [counters.lost, counters.duplicated, counters.reordered] {
            assert!(happened > 20, "{counters:?}");
        }
    });
}
