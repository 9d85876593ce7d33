//! The bytes, and two sides talking.

use alloc::vec::Vec;
use core::time::Duration;
use std::string::{String, ToString};

use proptest::prelude::*;

use super::{Bye, Config, Event, Frame, Hello, LIMIT, Malformed, NotSent, Offer, Protocol, Reason};
use crate::{Instant, Policy, Timing};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn at(ms: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(ms))
}

fn offer(send: u64, hear: u64, multiplier: u8) -> Offer {
    Offer::new(secs(send), secs(hear), multiplier)
}

fn bytes(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

#[test]
fn an_impatient_peer_does_not_make_others_impatient() {
    let keeping = |detect, outage| {
        Offer::keeping(&Policy::detect(secs(detect)).survive(secs(outage)).build().unwrap()).unwrap()
    };
    let patient = keeping(30, 8);
    // It beats every ten seconds, and wants none to be missed.
    let eager = Offer::new(secs(10), secs(10), 1);
    let timing = patient.agree(&eager).unwrap();
    assert_eq!(timing.tolerance(), secs(10) + Timing::late_after(secs(8)));
    // Who has no such wish takes the multiplier's word.
    assert_eq!(Offer { outage: secs(0), ..patient }.agree(&eager).unwrap().tolerance(), secs(10));
    // Three beats of ten seconds are in time, and yet an outage of 12 s would look like a death.
    let (careful, seldom) = (keeping(30, 12), keeping(30, 2));
    assert_eq!((seldom.send, seldom.multiplier), (secs(10), 3));
    assert!(careful.agree(&seldom).is_err());
}

#[test]
fn a_middlebox_on_the_way_of_one_hurries_nobody_else() {
    let keeping = |nat: Option<u64>| {
        let policy = Policy::detect(secs(600)).survive(secs(60));
        let policy = nat.map_or(policy.clone(), |nat| policy.mapping_timeout(secs(nat)));
        Offer::keeping(&policy.build().unwrap()).unwrap()
    };
    let (behind_it, elsewhere) = (keeping(Some(20)), keeping(None));
    let (its, others) = (behind_it.agree(&elsewhere).unwrap(), elsewhere.agree(&behind_it).unwrap());
    assert_eq!((its.interval(), others.interval()), (Duration::from_millis(19_500), secs(200)));
    assert_eq!((its.tolerance(), others.tolerance()), (secs(600), secs(600)));
}

#[test]
fn each_frame_has_the_bytes_of_its_description() {
    let hello = Hello { offer: offer(3, 5, 4), id: "pi" };
    let pinned: [(Frame<'_>, &[u8]); 7] = [
        (Frame::Hello(hello), b"\x01DP\x01\x00\x00\x0b\xb8\x00\x00\x13\x88\x04\x02pi"),
        (Frame::Beat, b"\x02"),
        (Frame::Ping { token: 0x0102_0304 }, b"\x03\x01\x02\x03\x04"),
        (Frame::Pong { token: 0x0102_0304 }, b"\x04\x01\x02\x03\x04"),
        (Frame::Data(b"hi"), b"\x05\x00\x00\x00\x02hi"),
        (Frame::End, b"\x06"),
        (Frame::Bye(Bye { reason: Reason::Restarting, back_in: secs(30) }), b"\x07\x01\x00\x00\x75\x30"),
    ];
    for (frame, expected) in pinned {
        assert_eq!(bytes(&frame), expected, "{frame:?}");
        assert_eq!(Frame::decode(expected, LIMIT), Ok(Some((frame, expected.len()))));
        for half in 0..expected.len() {
            assert_eq!(Frame::decode(&expected[..half], LIMIT), Ok(None), "{half} bytes of {frame:?}");
        }
    }
    assert!(bytes(&Frame::Ping { token: 0 }).len() <= 8, "a ping costs at most 8 bytes");
}

#[test]
fn what_is_wrong_is_told_as_early_as_it_shows() {
    let wrong: [(&[u8], Malformed); 7] = [
        (b"\x01HT", Malformed::NotHello),
        (b"\x01DP\x02", Malformed::Version(2)),
        (
            b"\x01DP\x01\x00\x00\x0b\xb8\x00\x00\x13\x88\x00\x00",
            Malformed::Hello { what: "the multiplier 0" },
        ),
        (
            b"\x01DP\x01\x00\x00\x00\x01\x00\x00\x13\x88\x03\x00",
            Malformed::Hello { what: "an interval below 10 ms or above a day" },
        ),
        (
            b"\x01DP\x01\x00\x00\x0b\xb8\x00\x00\x13\x88\x04\x01\x07",
            Malformed::Hello { what: "an id that is not plain UTF-8" },
        ),
        (b"\x05\x00\x01\x00\x01", Malformed::TooLong { length: 65_537, limit: 65_536 }),
        (b"\x47ET / HTTP/1.1", Malformed::UnknownFrame(0x47)),
    ];
    for (bytes, error) in wrong {
        assert_eq!(Frame::decode(bytes, LIMIT), Err(error));
    }
}

#[test]
fn the_slower_wish_wins_in_each_direction() {
    let (client, server) = (offer(10, 10, 3), offer(30, 5, 4));
    let agreed = client.agree(&server).unwrap();
    assert_eq!((agreed.interval(), agreed.tolerance()), (secs(10), secs(120)));
    let agreed = server.agree(&client).unwrap();
    assert_eq!((agreed.interval(), agreed.tolerance()), (secs(30), secs(30)));
    let impatient = Offer { at_most: secs(60), ..client };
    let error = impatient.agree(&server).unwrap_err().to_string();
    assert!(error.contains("60 s") && error.contains("2 min"), "{error}");
}

/// Two sides, and the bytes on their way from each.
struct Pair {
    sides: [Protocol; 2],
    wires: [Vec<u8>; 2],
    now: Instant,
}

impl Pair {
    fn up() -> Self {
        let policy = Policy::detect(secs(9)).survive(secs(2)).build().unwrap();
        let config = Config::new(Offer::keeping(&policy).unwrap());
        let (mut wires, now) = ([Vec::new(), Vec::new()], Instant::default());
        let sides = ["alice", "bob"];
        let mut seed = 0;
        let sides = sides.map(|id| {
            seed += 1;
            Protocol::open(config, id, seed, now, &mut wires[seed as usize - 1])
        });
        let mut pair = Self { sides, wires, now };
        assert_eq!(pair.deliver(1), ["up alice"]);
        assert_eq!(pair.deliver(0), ["up bob"]);
        pair
    }

    /// Hands side `to` what is on its way to it, in pieces, and tells what that meant.
    fn deliver(&mut self, to: usize) -> Vec<String> {
        let wire = core::mem::take(&mut self.wires[1 - to]);
        let (mut events, mut arrived) = (Vec::new(), Vec::new());
        for byte in wire {
            arrived.push(byte);
            let (taken, event) = self.sides[to].handle_input(&arrived, self.now).unwrap();
            events.extend(event.map(|event| match event {
                Event::Up { id, .. } => std::format!("up {id}"),
                Event::Data(message) => std::format!("data {}", String::from_utf8_lossy(message)),
                Event::Bye(bye) => std::format!("bye {}", bye.reason),
                other => std::format!("{other:?}"),
            }));
            arrived.drain(..taken);
        }
        assert!(arrived.is_empty(), "half a frame was left");
        events
    }

    fn poll(&mut self, side: usize) -> Option<Event<'static>> {
        let now = self.now;
        self.sides[side].poll(now, &mut self.wires[side])
    }
}

#[test]
fn messages_ends_and_goodbyes() {
    let mut pair = Pair::up();
    let now = pair.now;
    pair.sides[0].send(b"hello", now, &mut pair.wires[0]).unwrap();
    pair.sides[0].end(now, &mut pair.wires[0]);
    assert_eq!(pair.sides[0].send(b"more", now, &mut pair.wires[0]), Err(NotSent::Ended));
    assert_eq!(pair.deliver(1), ["data hello", "End"]);
    // The other half of the connection goes on.
    pair.sides[1].send(b"answer", now, &mut pair.wires[1]).unwrap();
    assert_eq!(pair.deliver(0), ["data answer"]);
    let bye = Bye { reason: Reason::Restarting, back_in: secs(30) };
    pair.sides[1].bye(bye, now, &mut pair.wires[1]);
    assert_eq!(pair.deliver(0), ["bye restarting"]);
    assert!(!pair.sides[0].is_up() && !pair.sides[0].is_over());
    pair.sides[0].bye(Bye { reason: Reason::Done, back_in: Duration::ZERO }, now, &mut pair.wires[0]);
    assert_eq!(pair.deliver(1), ["bye done"]);
    assert!(pair.sides[0].is_over() && pair.sides[1].is_over());
}

#[test]
fn an_idle_session_lives_on_beats_and_each_sixth_is_answered() {
    let mut pair = Pair::up();
    let (mut sent, mut trips) = ([0, 0], 0);
    for second in 1..=600 {
        pair.now = at(second * 1000);
        for side in [0, 1] {
            assert_eq!(pair.poll(side), None);
            sent[side] += pair.wires[side].len();
        }
        for side in [0, 1] {
            trips += pair.deliver(side).iter().filter(|event| event.starts_with("RoundTrip")).count();
        }
    }
    // 600 s, a beat each 3 s or less: 200 to 300 beats of 1 byte, a sixth of them pings and as many answers.
    for bytes in sent {
        assert!((200..900).contains(&bytes), "{bytes} bytes");
    }
    assert!((60..110).contains(&trips), "{trips} round trips");
}

#[test]
fn silence_is_noticed_on_both_sides_and_only_once() {
    let mut pair = Pair::up();
    for second in 1..9 {
        pair.now = at(second * 1000);
        assert_eq!((pair.poll(0), pair.poll(1)), (None, None));
    }
    pair.now = at(9_000);
    for side in [0, 1] {
        assert!(pair.sides[side].deadline() <= pair.now);
        assert_eq!(pair.poll(side), Some(Event::Lost { silent: secs(9) }));
        assert_eq!((pair.poll(side), pair.sides[side].deadline()), (None, Instant::NEVER));
        assert!(pair.sides[side].is_over());
    }
}

#[test]
fn who_says_nothing_or_something_else_is_not_waited_for() {
    let config = Config::new(offer(3, 3, 3));
    let mut quiet = Protocol::open(config, "", 1, at(0), &mut Vec::new());
    assert_eq!(quiet.deadline(), at(10_000));
    assert_eq!(quiet.poll(at(10_000), &mut Vec::new()), Some(Event::Lost { silent: secs(10) }));
    let mut other = Protocol::open(config, "", 1, at(0), &mut Vec::new());
    assert_eq!(other.handle_input(b"\x05\0\0\0\x01x", at(1)), Err(Malformed::NotHello));
    assert_eq!(other.handle_input(b"GET / HTTP/1.1\r\n", at(1)), Err(Malformed::NotHello));
    assert_eq!(other.send(b"x", at(1), &mut Vec::new()), Err(NotSent::NotUp));
}

#[test]
fn frames_out_of_place_are_refused() {
    for frame in [Frame::End, Frame::Data(b"x"), Frame::Hello(Hello { offer: offer(3, 3, 3), id: "" })] {
        let mut pair = Pair::up();
        let now = pair.now;
        pair.sides[0].end(now, &mut pair.wires[0]);
        pair.deliver(1);
        let bytes = bytes(&frame);
        let refused = pair.sides[1].handle_input(&bytes, now);
        assert!(matches!(refused, Err(Malformed::Unexpected { .. })), "{frame:?}: {refused:?}");
    }
}

/// Frames one after the other, with some bytes changed.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop_oneof![
        Just(bytes(&Frame::Beat)),
        any::<u32>().prop_map(|token| bytes(&Frame::Ping { token })),
        any::<u32>().prop_map(|token| bytes(&Frame::Pong { token })),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(|message| bytes(&Frame::Data(&message))),
        Just(bytes(&Frame::Bye(Bye { reason: Reason::Other(77), back_in: secs(1) }))),
        Just(bytes(&Frame::Hello(Hello { offer: offer(3, 3, 3), id: "someone" }))),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::collection::vec(frame, 1..8), changes).prop_map(|(frames, changes)| {
        let mut bytes = frames.concat();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_mean_the_same_or_are_refused(bytes in garbage(), cuts in prop::collection::vec(1usize..40, 1..20)) {
        let config = Config::new(offer(3, 3, 3));
        let read = |pieces: &mut dyn Iterator<Item = usize>| {
            let mut protocol = Protocol::open(config, "", 1, at(0), &mut Vec::new());
            let (mut seen, mut start, mut end) = (Vec::new(), 0, 0);
            while end < bytes.len() {
                end = (end + pieces.next().unwrap_or(usize::MAX / 2)).min(bytes.len());
                loop {
                    match protocol.handle_input(&bytes[start..end], at(1)) {
                        Ok((0, event)) => { assert!(event.is_none()); break }
                        Ok((taken, event)) => {
                            assert!(start + taken <= end);
                            start += taken;
                            seen.push(std::format!("{event:?}"));
                        }
                        Err(error) => { seen.push(std::format!("{error:?}")); return seen }
                    }
                }
            }
            seen
        };
        let whole = read(&mut core::iter::once(bytes.len()));
        let in_pieces = read(&mut cuts.iter().copied().cycle());
        prop_assert_eq!(whole, in_pieces);
    }

    #[test]
    fn a_hello_says_what_was_meant(send in 10u64..86_400_000, hear in 10u64..86_400_000, multiplier in 1u8.., id in "\\PC{0,16}") {
        let millis = Duration::from_millis;
        let offer = Offer::new(millis(send), millis(hear), multiplier);
        let bytes = bytes(&Frame::Hello(Hello { offer, id: &id }));
        let Ok(Some((Frame::Hello(read), length))) = Frame::decode(&bytes, LIMIT) else { panic!("{bytes:?}") };
        prop_assert_eq!((read.offer, length), (offer, bytes.len()));
        prop_assert!(id.starts_with(read.id) && read.id.len() <= 64 && read.id.len() + 4 > id.len().min(64));
    }
}
