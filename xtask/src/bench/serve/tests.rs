//! The generator against servers of all kinds.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_core::session::{Frame, Head, Hello, Offer};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::client::{Kind, Speech};
use super::generator::Generator;
use super::rivals::Rival;
use crate::bench::programs::beside_this;

const INTERVAL: Duration = Duration::from_millis(300);
const TOLERANCE_MS: u64 = 900;
const PATIENCE: Duration = Duration::from_secs(20);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Beats until `done`.
fn beat_until(generator: &mut Generator, mut done: impl FnMut(&mut Generator) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done(generator) {
        assert!(Instant::now() < until, "{:?}", generator.count());
        generator.beat().unwrap();
        generator.bury().unwrap();
        thread::sleep(generator.idle().min(Duration::from_millis(1)));
    }
}

fn open(kind: Kind, sessions: usize) -> Generator {
    let mut generator = Generator::new(kind, sessions).unwrap();
    (0..sessions).for_each(|_| generator.connect().unwrap());
    beat_until(&mut generator, |generator| generator.greeted().unwrap());
    generator
}

/// All beat and hear; some fall silent: those, and only those, are closed, and none too early.
fn live_and_die(rival: Rival, speech: Speech) {
    let (listener, address) = listener();
    thread::spawn(move || rival.serve(listener));
    let mut generator = open(Kind::new(address, speech, INTERVAL, None).unwrap(), 40);
    beat_until(&mut generator, |generator| generator.count().answers >= 100);
    generator.silence(10).unwrap();
    assert_eq!(generator.silent(), 10);
    beat_until(&mut generator, |generator| generator.silent() == 0);
    let deaths = generator.deaths();
    assert_eq!((deaths.late_ms.len(), deaths.unnoticed), (10, 0));
    assert!(deaths.late_ms.iter().all(|&late| late > -2.0), "{deaths:?}");
    assert_eq!(generator.count().lost, 0);
}

#[test]
fn bytes_are_answered_by_naive_tokio() {
    live_and_die(Rival::Tokio { tolerance_ms: TOLERANCE_MS }, Speech::Byte);
}

#[test]
fn pings_are_answered_by_sessions() {
    let rival = Rival::Session { tolerance_ms: TOLERANCE_MS, beat_every_ms: 60_000 };
    live_and_die(rival, Speech::Ping);
}

#[test]
fn sessions_beat_by_themselves() {
    let rival = Rival::Session { tolerance_ms: TOLERANCE_MS, beat_every_ms: INTERVAL.as_millis() as u64 };
    live_and_die(rival, Speech::Beat);
}

#[test]
fn tls_is_spoken() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let root = beside_this("test-certificate.pem").unwrap();
    fs::write(&root, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).unwrap());
    let (listener, address) = listener();
    thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let hello = Hello::new(Offer::new(INTERVAL, INTERVAL, INTERVAL * 3));
        let mut answer = Vec::new();
        let (mut received, mut buffer) = (Vec::new(), [0; 64]);
        loop {
            stream.write_all(&answer).unwrap();
            answer.clear();
            let length = stream.read(&mut buffer).unwrap();
            received.extend_from_slice(&buffer[..length]);
            while let Some((head, length)) = Head::decode(&received).unwrap() {
                match head {
                    Head::Frame(Frame::Hello(_)) => Frame::Hello(hello).encode(&mut answer),
                    Head::Frame(Frame::Ping { token }) => Frame::Pong { token }.encode(&mut answer),
                    _ => {}
                }
                received.drain(..length);
            }
        }
    });
    let mut generator = open(Kind::new(address, Speech::Ping, INTERVAL, Some(&root)).unwrap(), 1);
    beat_until(&mut generator, |generator| generator.count().answers >= 3);
    assert_eq!(generator.count().lost, 0);
}
