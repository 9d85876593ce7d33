//! The module's rules, by their numbers.

use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use core::time::Duration;
use proptest::prelude::*;

use super::*;
use crate::instant::Instant;
use crate::random::Random;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(when: u64) -> Instant {
    Instant::from_origin(ms(when))
}

/// Beats at least every second, waits 3 s.
fn terms() -> Terms {
    Terms::new(Offer::new(ms(100), ms(1_000), ms(3_000)))
}

/// Writes all that `from` has to say.
fn said(from: &mut Single, now: Instant) -> Vec<u8> {
    let mut said = Vec::new();
    loop {
        let bytes = from.output(now);
        if bytes.is_empty() {
            return said;
        }
        said.extend_from_slice(bytes);
        let length = bytes.len();
        from.wrote(length, now);
    }
}

fn carry(from: &mut Single, to: &mut Single, now: Instant) -> Result<(), Failure> {
    let bytes = said(from, now);
    if bytes.is_empty() {
        return Ok(());
    }
    to.bytes_arrived(now);
    to.input(&bytes, now)
}

/// Two sides that have agreed at 0 ms.
fn pair(connector: Terms, acceptor: Terms) -> (Single, Single) {
    let mut alice = Single::new(Role::Connector, connector, "alice", b"secret", 1, at(0));
    let mut bob = Single::new(Role::Acceptor, acceptor, "bob", b"", 2, at(0));
    assert_eq!(said(&mut bob, at(0)), b"", "the acceptor waits for the connector");
    carry(&mut alice, &mut bob, at(0)).unwrap();
    let Some(Incoming::Greeted(peer)) = bob.next() else { panic!("no HELLO") };
    assert_eq!((peer.id.as_str(), &peer.token[..]), ("alice", &b"secret"[..]));
    bob.admit(at(0));
    carry(&mut bob, &mut alice, at(0)).unwrap();
    assert_eq!(alice.next(), Some(Incoming::Up));
    (alice, bob)
}

fn events(side: &mut Single) -> Vec<Incoming> {
    core::iter::from_fn(|| side.next()).collect()
}

#[test]
fn rules_1_and_2_lost_after_the_patience_once() {
    let (mut alice, _) = pair(terms(), terms());
    assert_eq!(alice.poll(at(3_000)), Ok(()));
    assert_eq!(alice.poll(at(3_001)), Err(Failure::Silent { silent: ms(3_001) }));
    assert_eq!((alice.poll(at(9_999)), alice.deadline(at(9_999))), (Ok(()), Instant::NEVER));
    let last = alice.history().events(at(3_001)).last();
    assert_eq!(last, Some(Happened { what: What::Lost, ago: ms(0), count: 0 }));
}

#[test]
fn rule_3_an_idle_session_beats_in_every_interval() {
    let (mut alice, mut bob) = pair(terms(), terms());
    let (mut last, mut beats) = (0, 0);
    for now in 0..60_000 {
        for side in [&mut alice, &mut bob] {
            side.poll(at(now)).unwrap();
        }
        let bytes = said(&mut alice, at(now));
        if !bytes.is_empty() {
            assert!(now - last <= 875, "{} ms", now - last);
            (last, beats) = (now, beats + 1);
            bob.bytes_arrived(at(now));
            bob.input(&bytes, at(now)).unwrap();
        }
        carry(&mut bob, &mut alice, at(now)).unwrap();
    }
    // Answers replace heartbeats.
    assert!((60..=110).contains(&beats), "{beats}");
    assert!(alice.session().rtt().is_some());
}

#[test]
fn rule_4_parts_are_signs_of_life_but_not_of_a_hello() {
    let (_, mut bob) = pair(terms(), terms());
    // 60 kB in one frame each 16 kB, and a byte each 100 ms.
    let head = data_head(16_384, false);
    for (n, byte) in head.iter().copied().chain([0; 600]).enumerate() {
        let now = at(100 * n as u64);
        bob.bytes_arrived(now);
        bob.input(&[byte], now).unwrap();
        bob.poll(now).unwrap();
    }
    let hello = said(&mut Single::new(Role::Connector, terms(), "slow", b"", 1, at(0)), at(0));
    let mut carol = Single::new(Role::Acceptor, terms(), "carol", b"", 1, at(0));
    for (n, byte) in hello.iter().enumerate() {
        let now = at(1_000 * n as u64);
        carol.bytes_arrived(now);
        carol.input(&[*byte], now).unwrap();
        if now > at(10_000) {
            assert_eq!(carol.poll(now), Err(Failure::NoGreeting { within: ms(10_000) }));
            return;
        }
        carol.poll(now).unwrap();
    }
    panic!("the HELLO was too short for this test");
}

#[test]
fn a_control_frame_must_be_completed_in_time() {
    let (_, mut bob) = pair(terms(), terms());
    bob.input(&[3], at(0)).unwrap();
    for now in (0..=3_000).step_by(500) {
        bob.bytes_arrived(at(now));
        bob.poll(at(now)).unwrap();
    }
    bob.bytes_arrived(at(3_001));
    assert_eq!(bob.poll(at(3_001)), Err(Failure::Malformed(Malformed::Unfinished)));
    assert!(matches!(
        Head::decode(&said(&mut bob, at(3_001))),
        Ok(Some((Head::Frame(Frame::Beat | Frame::Ping { .. }), _)))
            | Ok(Some((Head::Frame(Frame::Bye(_)), _)))
    ));
}

#[test]
fn rule_5_credit_bounds_what_waits_and_taking_renews_it() {
    let small = Terms { max_message: 1_000, window: 1, ..terms() };
    let (mut alice, mut bob) = pair(terms(), small);
    let window = u64::from(1_000 + Terms::RESERVE);
    for _ in 0..1_000 {
        alice.send(&[7; 1_000]).unwrap();
    }
    let bytes = said(&mut alice, at(0));
    assert!((bytes.len() as u64) <= window && bytes.len() as u64 > window - 1_004, "{}", bytes.len());
    bob.input(&bytes, at(0)).unwrap();
    let mut received = 0;
    for _ in 0..1_000 {
        received += events(&mut bob).len();
        carry(&mut bob, &mut alice, at(0)).unwrap();
        carry(&mut alice, &mut bob, at(0)).unwrap();
    }
    assert_eq!((received, alice.queued()), (1_000, 0));
    assert_eq!(alice.send(&[0; 1_001]), Err(NotSent::TooLong { length: 1_001, limit: 1_000 }));
    // A peer that exceeds its credit is refused.
    let mut frames = Vec::new();
    for _ in 0..100 {
        frames.extend(data_head(1_000, false));
        frames.extend([0; 1_000]);
    }
    assert_eq!(bob.input(&frames, at(0)), Err(Failure::Malformed(Malformed::NoCredit)));
}

#[test]
fn a_message_in_the_smallest_pieces_arrives() {
    let (_, mut bob) = pair(terms(), terms());
    let mut other = Flow::new(0, 0);
    other.opened(128 * 1024);
    // Each byte of 64 KiB in a frame of its own: 5 times as many bytes as the message has.
    for n in 0..65_536_u32 {
        assert!(other.may_send() >= 1, "no credit after {n} pieces");
        other.sent(1);
        bob.input(&data_head(1, n != 65_535), at(0)).unwrap();
        bob.input(b"x", at(0)).unwrap();
        let mut bytes = &said(&mut bob, at(0))[..];
        while let Ok(Some((Head::Frame(frame), length))) = Head::decode(bytes) {
            bytes = &bytes[length..];
            if let Frame::Window { credit } = frame {
                other.credited(credit).unwrap();
            }
        }
    }
    assert_eq!(events(&mut bob), [Incoming::Message(vec![b'x'; 65_536])]);
}

#[test]
fn rule_6_a_goodbye_comes_after_what_was_queued_and_is_answered_after_it() {
    let (mut alice, mut bob) = pair(terms(), terms());
    alice.send(b"last words").unwrap();
    alice.bye(Bye::new(Reason::Restarting).back_in(ms(5_000)));
    bob.send(b"crossing").unwrap();
    assert_eq!(alice.send(b"more"), Err(NotSent::Left));
    carry(&mut alice, &mut bob, at(0)).unwrap();
    let restarting = Bye::new(Reason::Restarting).back_in(ms(5_000));
    assert_eq!(events(&mut bob), [Incoming::Message(b"last words".to_vec()), Incoming::Bye(restarting)]);
    assert!(!alice.session().is_over());
    carry(&mut bob, &mut alice, at(0)).unwrap();
    assert_eq!(
        events(&mut alice),
        [Incoming::Message(b"crossing".to_vec()), Incoming::Bye(Bye::new(Reason::Done))]
    );
    assert!(alice.session().is_over() && bob.session().is_over());
}

#[test]
fn beats_go_on_after_a_goodbye_and_only_silence_ends_the_wait() {
    let (mut alice, mut bob) = pair(terms(), terms());
    // Bob has much to send, and alice gives him no credit because her program takes nothing.
    for _ in 0..100 {
        bob.send(&[1; 10_000]).unwrap();
    }
    alice.bye(Bye::new(Reason::Done));
    for now in (0..60_000).step_by(50) {
        for side in [&mut alice, &mut bob] {
            side.poll(at(now)).unwrap();
        }
        carry(&mut alice, &mut bob, at(now)).unwrap();
        carry(&mut bob, &mut alice, at(now)).unwrap();
    }
    assert!(!alice.session().is_over() && !bob.session().is_over());
    let mut messages = 0;
    for now in 60_000..70_000 {
        messages += events(&mut alice).iter().filter(|told| matches!(told, Incoming::Message(_))).count();
        carry(&mut bob, &mut alice, at(now)).unwrap();
        carry(&mut alice, &mut bob, at(now)).unwrap();
    }
    assert_eq!(messages, 100);
    assert!(alice.session().is_over() && bob.session().is_over());
}

#[test]
fn rule_7_a_pause_of_this_process_is_not_the_peers_silence() {
    let (mut alice, _) = pair(terms(), terms());
    alice.handle_pause(ms(60_000), at(61_000));
    alice.poll(at(61_000)).unwrap();
    alice.poll(at(63_000)).unwrap();
    assert_eq!(alice.poll(at(63_001)), Err(Failure::Silent { silent: ms(3_001) }));
}

#[test]
fn a_reset_drops_what_was_queued() {
    let (mut alice, mut bob) = pair(terms(), terms());
    for _ in 0..100 {
        alice.send(&[1; 10_000]).unwrap();
    }
    alice.reset(Reason::Lost, at(0));
    carry(&mut alice, &mut bob, at(0)).unwrap();
    assert_eq!(events(&mut bob), [Incoming::Reset(Reason::Lost)]);
    assert!(alice.session().is_over() && bob.session().is_over());
    assert_eq!((said(&mut alice, at(1)), said(&mut bob, at(1))), (Vec::new(), Vec::new()));
}

#[test]
fn a_peer_that_answers_no_ping_is_unresponsive_and_not_dead() {
    let (mut alice, _) = pair(terms(), terms());
    let mut told = Vec::new();
    for now in (0..20_000).step_by(100) {
        alice.bytes_arrived(at(now));
        alice.poll(at(now)).unwrap();
        let _ = said(&mut alice, at(now));
        told.extend(events(&mut alice).into_iter().map(|event| (now, event)));
    }
    let [(when, Incoming::Unresponsive(time))] = told[..] else { panic!("{told:?}") };
    assert!((3_000..=5_000).contains(&when) && time > ms(3_000), "{when} {time:?}");
}

#[test]
fn a_program_that_never_looks_costs_no_memory() {
    let (mut alice, mut bob) = pair(terms(), Terms { measure_every: 1, ..terms() });
    for now in (0..1_000_000).step_by(500) {
        for side in [&mut alice, &mut bob] {
            if now % 10_000 == 0 {
                side.drain(ms(now), at(now));
            }
            side.poll(at(now)).unwrap();
        }
        carry(&mut alice, &mut bob, at(now)).unwrap();
        carry(&mut bob, &mut alice, at(now)).unwrap();
    }
    for side in [&mut alice, &mut bob] {
        assert!(side.session().rtt().is_some());
        assert!(events(side).len() <= 3);
    }
}

#[test]
fn offers_find_a_middle() {
    let offer = |detect: u64| {
        let policy =
            crate::Policy::detect(Duration::from_secs(detect)).survive(Duration::ZERO).build().unwrap();
        Offer::keeping(&policy).unwrap()
    };
    let (fast, slow) = (offer(3), offer(90));
    let (at_fast, at_slow) = (fast.agree(&slow).unwrap(), slow.agree(&fast).unwrap());
    assert_eq!((at_fast.interval(), at_fast.tolerance()), (ms(30_000), ms(3_000)));
    assert_eq!((at_slow.interval(), at_slow.tolerance()), (ms(1_000), ms(90_000)));
    // A side that is not willing to send often enough is refused.
    let unwilling = slow.sending(ms(2_900));
    assert!(fast.agree(&unwilling).is_err());
    assert!(fast.agree(&slow.sending(ms(2_400))).is_ok());
    let mut acceptor = Single::new(Role::Acceptor, Terms::new(fast), "", b"", 1, at(0));
    let mut connector = Single::new(Role::Connector, Terms::new(unwilling), "", b"", 1, at(0));
    assert!(matches!(carry(&mut connector, &mut acceptor, at(0)), Err(Failure::TooSlow(_))));
    carry(&mut acceptor, &mut connector, at(0)).unwrap();
    assert_eq!(events(&mut connector), [Incoming::Bye(Bye::new(Reason::TooSlow))]);
}

#[test]
fn the_journal_has_the_last_events_of_each_session() {
    let mut columns = Columns::new(ms(50), 2);
    let terms = terms();
    let mut random = Random::new(1);
    let rows: Vec<usize> = (0..3).map(|_| columns.open(Role::Connector, &terms, at(0))).collect();
    let mut out = Vec::new();
    for row in &rows {
        let mut hello = Vec::new();
        Frame::Hello(terms.hello("", b"")).encode(&mut hello);
        let mut live = columns.live(*row).unwrap();
        let (_, greeted) = live.input(&terms, None, &hello, at(10)).unwrap();
        let Some(Event::Greeted { agreed: Ok(timing), .. }) = greeted else { panic!() };
        live.admit(&terms, timing, &mut random, at(10));
    }
    for beat in 0..100 {
        for row in &rows[..2] {
            columns.live(*row).unwrap().beat(&terms, at(1_000 * (beat + 1)), &mut out);
        }
    }
    let histories = columns.histories(&rows, at(101_000));
    let of = |n: usize| histories[n].events(at(101_000)).collect::<Vec<_>>();
    assert_eq!((of(0).len(), of(0)), (History::LENGTH, of(1)));
    let newest = *of(0).last().unwrap();
    assert_eq!((newest.ago, newest.what), (ms(1_000), What::SentBeat));
    assert_eq!(of(0)[0].ago, ms(32_000));
    assert_eq!(of(2).iter().map(|event| event.what).collect::<Vec<_>>(), [What::Opened, What::HeardHello]);
    assert_eq!(of(2)[1].ago, ms(100_990));
    // Another session in the same row has its own events only.
    columns.close(rows[1]);
    assert_eq!(columns.open(Role::Connector, &terms, at(101_000)), rows[1]);
    let opened = columns.histories(&rows[1..2], at(101_000))[0];
    assert_eq!(opened.events(at(101_000)).map(|event| event.what).collect::<Vec<_>>(), [What::Opened]);
}

#[test]
fn a_session_is_small() {
    assert_eq!(size_of::<Session>(), 20);
    assert!(size_of::<Single>() <= 752, "{}", size_of::<Single>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// Rules 5 and 6 with messages of all lengths, in bytes that arrive in pieces of any length, at readers of any speed:
    /// all messages arrive, in order, and then the goodbye.
    #[test]
    fn every_message_arrives(
        lengths in prop::collection::vec(0_usize..100_000, 0..12),
        pieces in prop::collection::vec(1_usize..40_000, 1..8),
        take_every in 1_usize..20,
    ) {
        let big = Terms { max_message: 100_000, window: 100_000, ..terms() };
        let (mut alice, mut bob) = pair(big, big);
        let messages: Vec<Vec<u8>> =
            lengths.iter().enumerate().map(|(n, length)| vec![n as u8; *length]).collect();
        for message in &messages {
            alice.send(message).unwrap();
        }
        alice.bye(Bye::new(Reason::Done));
        let mut wire: VecDeque<u8> = VecDeque::new();
        let mut told = Vec::new();
        for step in 0..10_000 {
            wire.extend(said(&mut alice, at(0)));
            let length = pieces[step % pieces.len()].min(wire.len());
            let piece: Vec<u8> = wire.drain(..length).collect();
            bob.input(&piece, at(0)).unwrap();
            if step % take_every == 0 {
                told.extend(bob.next());
            }
            carry(&mut bob, &mut alice, at(0)).unwrap();
            if alice.session().is_over() {
                break;
            }
        }
        told.extend(events(&mut bob));
        let mut expected: Vec<_> = messages.into_iter().map(Incoming::Message).collect();
        expected.push(Incoming::Bye(Bye::new(Reason::Done)));
        prop_assert_eq!(told, expected);
        prop_assert!(alice.session().is_over() && bob.session().is_over());
    }

    /// Any bytes after the HELLOs, whole or one by one: the same events and the same end.
    #[test]
    fn any_bytes_in_any_pieces(bytes in prop::collection::vec(any::<u8>(), 0..400), few: bool) {
        let bytes: Vec<u8> = bytes.iter().map(|byte| if few { byte % 11 } else { *byte }).collect();
        let run = |piece: usize| {
            let (_, mut bob) = pair(terms(), terms());
            for piece in bytes.chunks(piece) {
                if let Err(failure) = bob.input(piece, at(5)) {
                    return (events(&mut bob), Some(failure));
                }
            }
            (events(&mut bob), None)
        };
        prop_assert_eq!(run(1_000), run(1));
    }
}
