//! Slow links, small frames, and the last events of a session.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use deadpeer_core::Policy;
use deadpeer_core::session::{Frame, Head, Offer, What, data_head};
use deadpeer_hub::{Client, ClientConfig, Event, Gateway, GatewayConfig, Server, ServerConfig};

use crate::carried::{bytes, gateway, program, server};
use crate::common::{Events, SOON, arrived, config, hello, raw, serve, word};
use crate::secret::Authority;

/// A relay to `server` that passes on few bytes at a time: 2 kB/s in each direction, a piece each 100 ms.
fn trickle(server: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    const PIECE: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The handshake and the greeting are not what is tested.
    let slow = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&slow);
    thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let server = TcpStream::connect(server).unwrap();
        for (mut from, mut to) in
            [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
        {
            let switch = Arc::clone(&switch);
            thread::spawn(move || {
                let mut buffer = [0; PIECE];
                while let Ok(length @ 1..) = from.read(&mut buffer) {
                    if switch.load(Relaxed) {
                        thread::sleep(Duration::from_millis(100));
                    }
                    if to.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    (address, slow)
}

/// 12 kB at 2 kB/s take three times the detection time.
const LONG: usize = 12_000;

fn carries_slowly(gateway: SocketAddr, target: &TcpListener, slow: &AtomicBool) {
    let mut program = program(gateway);
    let (mut accepted, _) = target.accept().unwrap();
    accepted.set_read_timeout(Some(SOON)).unwrap();
    program.write_all(b"quick").unwrap();
    accepted.read_exact(&mut [0; 5]).unwrap();
    slow.store(true, Relaxed);
    program.write_all(&bytes(LONG)).unwrap();
    program.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).unwrap();
    assert!(all == bytes(LONG), "{} bytes", all.len());
    slow.store(false, Relaxed);
}

#[test]
fn bytes_that_come_slowly_are_signs_of_life() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, there) = server("127.0.0.1:0", target.local_addr().unwrap(), config());
    let (relay, slow) = trickle(server.address());
    let (gateway, here) = gateway("127.0.0.1:0", relay, config());
    carries_slowly(gateway.address(), &target, &slow);
    assert_eq!((here.find(word), there.find(word)), ("left", "left"));
}

#[test]
fn parts_of_tls_records_are_signs_of_life() {
    let authority = Authority::new();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let (tell, there) = sync_channel(1024);
    let mut secret = ServerConfig::new("127.0.0.1:0".parse().unwrap(), config());
    secret.forward = Some(target.local_addr().unwrap().to_string().parse().unwrap());
    secret.tls = Some(authority.server(false));
    let server = Server::start(secret, tell).unwrap();
    let (relay, slow) = trickle(server.address());
    let (tell, here) = sync_channel(1024);
    let mut carrying =
        GatewayConfig::new("127.0.0.1:0".parse().unwrap(), relay.to_string().parse().unwrap(), config());
    carrying.tls = Some(authority.client(None));
    let gateway = Gateway::start(carrying, tell).unwrap();
    carries_slowly(gateway.address(), &target, &slow);
    assert_eq!((Events(here).find(word), Events(there).find(word)), ("left", "left"));
}

#[test]
fn offers_find_a_middle() {
    let offer = |detect: u64| {
        let policy = Policy::detect(Duration::from_secs(detect)).survive(Duration::from_secs(detect / 6));
        Offer::keeping(&policy.build().unwrap()).unwrap()
    };
    for (client, server) in [(3, 90), (90, 3)] {
        let mut there = config();
        there.offer = offer(server);
        let (server, _events) = serve("127.0.0.1:0", there);
        let mut here = config();
        here.offer = offer(client);
        let (tell, events) = sync_channel(64);
        let place = server.address().to_string().parse().unwrap();
        let kept = Client::start(ClientConfig::new(place, here), tell).unwrap();
        let events = Events(events);
        let timing = events.find(|event| match event {
            Event::Arrived { timing, .. } => Some(*timing),
            Event::Refused { why, .. } => panic!("{why}"),
            _ => None,
        });
        assert_eq!(timing.tolerance(), Duration::from_secs(client));
        drop(kept);
    }
}

#[test]
fn a_megabyte_in_frames_of_one_byte_is_written_together() {
    const COUNT: usize = 1_000_000;
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, _events) = server("127.0.0.1:0", target.local_addr().unwrap(), config());
    let mut client = raw(server.address());
    client.write_all(&hello("small")).unwrap();
    let accepted = target.accept().unwrap().0;
    let counting = thread::spawn(move || {
        let mut accepted = &accepted;
        let (mut count, mut buffer) = (0, vec![0; 64 * 1024]);
        while count < COUNT {
            match accepted.read(&mut buffer) {
                Ok(0) => panic!("only {count} bytes"),
                Ok(length) => count += length,
                Err(error) => panic!("{error} after {count} bytes"),
            }
        }
        segments(accepted)
    });
    let frame = [&data_head(1, false)[..], b"x"].concat();
    let (mut credit, mut sent, mut heard, mut buffer) = (0, 0, Vec::new(), [0; 4096]);
    while sent < COUNT {
        let count = (credit / frame.len()).min(COUNT - sent);
        client.write_all(&frame.repeat(count)).unwrap();
        (credit, sent) = (credit - count * frame.len(), sent + count);
        let length = client.read(&mut buffer).unwrap();
        heard.extend_from_slice(&buffer[..length]);
        while let Some((head, length)) = Head::decode(&heard).unwrap() {
            credit += match head {
                Head::Frame(Frame::Hello(hello)) => hello.window as usize,
                Head::Frame(Frame::Window { credit }) => credit as usize,
                _ => 0,
            };
            heard.drain(..length);
        }
    }
    let segments = counting.join().unwrap();
    assert!(segments.is_none_or(|segments| segments < COUNT as u32 / 50), "{segments:?} segments");
}

/// Segments with data that have arrived, where the system counts them.
fn segments(stream: &TcpStream) -> Option<u32> {
    match deadpeer::diagnose(stream).unwrap().facts.data_segments_in {
        deadpeer_core::Known::Is(count) => Some(count),
        _ => None,
    }
}

#[test]
fn every_death_carries_the_last_events() {
    let (server, events) = serve("127.0.0.1:0", config());
    let mut mute = raw(server.address());
    mute.write_all(&hello("mute")).unwrap();
    events.find(arrived);
    mute.write_all(&[2, 2]).unwrap();
    let last = events.find(|event| match event {
        Event::Ended { events, .. } => Some(events.clone()),
        _ => None,
    });
    let whats: Vec<What> = last.iter().map(|event| event.what).collect();
    assert_eq!(whats[..3], [What::Opened, What::HeardHello, What::SentHello], "{whats:?}");
    assert!(whats.contains(&What::HeardBeat) && whats.contains(&What::SentPing), "{whats:?}");
    assert_eq!(whats.last(), Some(&What::Lost));
    assert!(last.windows(2).all(|pair| pair[0].ago >= pair[1].ago), "{last:?}");
}
