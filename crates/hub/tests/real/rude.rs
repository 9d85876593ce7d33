//! Peers that do what they may not, and limits.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use deadpeer::Loss;
use deadpeer_core::session::{Frame, Head, Reason, data_head};
use deadpeer_hub::{Ending, Event, Refusal};
use socket2::SockRef;

use crate::common::{DETECT, SOON, arrived, config, hello, raw, serve, word};

/// What a server said until it closed.
fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset after its last words is an end as well.
    let _ = stream.read_to_end(&mut said);
    said
}

/// The goodbye at the end of what a server said.
fn goodbye(said: &[u8]) -> Option<Reason> {
    match Head::decode(said.get(said.len().checked_sub(7)?..)?) {
        Ok(Some((Head::Frame(Frame::Bye(bye)), 7))) => Some(bye.reason),
        _ => None,
    }
}

#[test]
fn whoever_does_not_greet_is_refused() {
    let mut limited = config();
    limited.limits.greeting = Duration::from_millis(300);
    let (server, events) = serve("127.0.0.1:0", limited);
    let cases: [(&[u8], &str, Option<Reason>); 7] = [
        (b"GET / HTTP/1.1\r\n\r\n", "malformed", None),
        (b"\0", "malformed", None),
        (&[1, b'D', b'P', 9], "malformed", Some(Reason::Malformed)),
        (&[1, b'D'], "silent", None),
        (b"", "silent", None),
        (&hello("half a hello")[..20], "silent", None),
        (&[1, b'D', b'P', 2, 0, 1], "malformed", Some(Reason::Malformed)),
    ];
    for (bytes, refused, reason) in cases {
        let began = Instant::now();
        let mut stream = raw(server.address());
        stream.write_all(bytes).unwrap();
        let said = answer(&mut stream);
        assert_eq!((events.find(word), goodbye(&said)), (refused, reason), "{bytes:?}");
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    // Connections that end before a complete HELLO: by an end of file of one direction or both, and by a reset.
    let ends: [fn(TcpStream); 3] = [
        |stream| stream.shutdown(Shutdown::Write).unwrap(),
        drop,
        |stream| SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
    ];
    for (at, end) in ends.into_iter().enumerate() {
        let mut stream = raw(server.address());
        stream.write_all(&hello("shy")[..10]).unwrap();
        let kept = (at == 0).then(|| stream.try_clone().unwrap());
        end(stream);
        assert_eq!(events.find(word), "closed", "end {at}");
        drop(kept);
    }
    // The last words of the others may still be on their way.
    let until = Instant::now() + SOON;
    while server.counters().held != 0 {
        assert!(Instant::now() < until, "{:?}", server.counters());
        std::thread::yield_now();
    }
}

#[test]
fn whoever_breaks_the_protocol_later_is_told_and_cut_off() {
    let (server, events) = serve("127.0.0.1:0", config());
    let long = [&data_head(u16::MAX, false)[..], &[0; 100]].concat();
    let cases: [(&[u8], Reason); 4] = [
        (&[99], Reason::Malformed),
        (&hello("again"), Reason::Malformed),
        (&long, Reason::Malformed),
        // There is no place to forward to.
        (b"\x05\x00\x00\x02hi", Reason::Refused),
    ];
    for (bytes, reason) in cases {
        let mut stream = raw(server.address());
        stream.write_all(&hello("rude")).unwrap();
        events.find(arrived);
        stream.write_all(bytes).unwrap();
        let said = answer(&mut stream);
        assert_eq!(goodbye(&said), Some(reason), "{bytes:?}: {said:?}");
        assert_eq!(events.find(word), "protocol-error");
    }
}

#[test]
fn one_byte_at_a_time_and_floods_are_served_alike() {
    let (server, events) = serve("127.0.0.1:0", config());
    let mut slow = raw(server.address());
    slow.set_nodelay(true).unwrap();
    for byte in hello("slow") {
        slow.write_all(&[byte]).unwrap();
    }
    assert_eq!(events.find(arrived), "slow");
    let mut flood = raw(server.address());
    flood.write_all(&hello("flood")).unwrap();
    assert_eq!(events.find(arrived), "flood");
    // A PING wants an answer; the flood reads none of them, and only the last of many is owed.
    let pings: Vec<u8> = (0..20_000u32).flat_map(|token| [&[3][..], &token.to_be_bytes()].concat()).collect();
    flood.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let until = Instant::now() + DETECT;
    let mut sent = 0;
    while Instant::now() < until {
        match flood.write(&pings[sent % pings.len()..]) {
            Ok(written) => sent += written,
            Err(_) => break,
        }
        slow.write_all(&[2]).unwrap();
    }
    assert!(sent > 1_000_000, "only {sent} bytes of PING were taken");
    assert!(server.counters().buffered <= 1024, "{:?}", server.counters());
    let here: Vec<_> = server.sessions().into_iter().map(|session| session.id).collect();
    assert!(here.contains(&"slow".to_owned()), "{here:?}");
}

#[test]
fn single_bytes_do_not_extend_the_time_for_a_greeting() {
    let mut limited = config();
    limited.limits.greeting = Duration::from_millis(500);
    let (server, events) = serve("127.0.0.1:0", limited);
    let mut slow = raw(server.address());
    slow.set_nodelay(true).unwrap();
    let began = Instant::now();
    for byte in hello("a name that takes its time") {
        // The server hangs up in the middle.
        let _ = slow.write_all(&[byte]);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() > Duration::from_secs(1), "the greeting was too quick for this test");
    assert_eq!(events.find(word), "silent");
}

#[test]
fn limits_are_kept_and_said() {
    let mut limited = config();
    limited.limits.sessions = 3;
    limited.limits.sessions_per_address = Some(2);
    let (server, events) = serve("127.0.0.1:0", limited);
    let greet = || {
        let mut stream = raw(server.address());
        stream.write_all(&hello("one of many")).unwrap();
        stream
    };
    let mut held = vec![greet(), greet()];
    for _ in &held {
        events.find(arrived);
    }
    let refusal = |wanted: fn(&Refusal) -> bool| {
        let why = events.find(|event| match event {
            Event::Refused { why, .. } => Some(why.clone()),
            _ => None,
        });
        assert!(wanted(&why), "{why}");
    };
    assert_eq!(goodbye(&answer(&mut greet())), Some(Reason::Overloaded));
    refusal(|why| *why == Refusal::FullForAddress { limit: 2 });
    // From another address there is room for one.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    bound.connect(&server.address().into()).unwrap();
    (&bound).write_all(&hello("elsewhere")).unwrap();
    assert_eq!(events.find(arrived), "elsewhere");
    assert_eq!(goodbye(&answer(&mut greet())), Some(Reason::Overloaded));
    refusal(|why| *why == Refusal::Full { limit: 3 });
    // Who leaves makes room.
    held.pop();
    drop(bound);
    for _ in 0..2 {
        // By a reset, if it had not read the server's beat.
        assert!(["closed", "reset"].contains(&events.find(word)));
    }
    held.push(greet());
    events.find(arrived);
}

#[test]
fn a_client_that_hangs_is_told_from_a_host_that_is_gone() {
    let (server, events) = serve("127.0.0.1:0", config());
    let mut hung = raw(server.address());
    hung.write_all(&hello("hung")).unwrap();
    events.find(arrived);
    // Its kernel acknowledges the server's beats; the program says nothing.
    let lost = events.find(|event| match event {
        Event::Ended { why: Ending::Died(lost), .. } => Some(lost.clone()),
        _ => None,
    });
    // Other kernels don't tell when they were heard.
    let hung_or_gone = if cfg!(target_os = "linux") { Loss::Hung } else { Loss::HeartbeatMissed };
    assert_eq!(lost.cause, hung_or_gone);
    assert!(lost.silent.unwrap() >= DETECT && lost.silent.unwrap() < DETECT + Duration::from_millis(700));
    hung.set_read_timeout(Some(SOON)).unwrap();
    // The server resets the connection. Linux keeps what had arrived before; Windows and wine 10 may discard it.
    let said = answer(&mut hung);
    assert!(!said.is_empty() || cfg!(not(target_os = "linux")));
}
