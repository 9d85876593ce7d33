#![no_main]
//! What a server does with any bytes at all: it answers with whole frames, tells what happened, lets go of everything,
//! and a session that was there before is still there.
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use deadpeer_core::session::{DATA_HEAD, Frame, Head, Hello, Offer};
use deadpeer_hub::{Config, Event, Server, ServerConfig};
use libfuzzer_sys::fuzz_target;

struct Arena {
    server: Server,
    events: Receiver<Event>,
    healthy: TcpStream,
    tried: u32,
}

const PATIENCE: Duration = Duration::from_secs(3_600);

/// Who may hear very often has short ticks, and more is tried in a second.
fn offer() -> Offer {
    Offer::new(PATIENCE / 4, Duration::from_millis(10), PATIENCE)
}

impl Arena {
    fn new() -> Self {
        let (tell, events) = sync_channel(1 << 16);
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let server = Server::start(ServerConfig::new(listen, Config::new(offer())), tell).unwrap();
        let mut arena = Self { healthy: TcpStream::connect(("127.0.0.1", server.address().port())).unwrap(), server, events, tried: 0 };
        let mut hello = Vec::new();
        Frame::Hello(Hello { id: "healthy", ..Hello::new(offer()) }).encode(&mut hello);
        arena.healthy.write_all(&hello).unwrap();
        assert!(matches!(arena.events.recv(), Ok(Event::Arrived { .. })));
        arena
    }

    fn try_with(&mut self, bytes: &[u8]) {
        // From and to addresses of their own: those of connections that are over may not be used again for a while.
        self.tried = self.tried.wrapping_add(1);
        let [_, b, c, d] = self.tried.to_be_bytes();
        let to = SocketAddr::from(([127, b, c, d | 1], self.server.address().port()));
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The server may have hung up in the middle.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut said = Vec::new();
        if let Err(error) = stream.read_to_end(&mut said) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        } else {
            let mut rest = &said[..];
            while !rest.is_empty() {
                let (head, length) = Head::decode(rest).expect("a frame").expect("a whole frame");
                let content = match head {
                    Head::Data { length, .. } => usize::from(length),
                    _ => 0,
                };
                assert!(content == 0 || length == DATA_HEAD);
                rest = &rest[length + content..];
            }
        }
        let until = Instant::now() + Duration::from_secs(20);
        while self.server.counters().held != 1 {
            assert!(Instant::now() < until, "{:?}", self.server.counters());
            std::thread::yield_now();
        }
        assert_eq!(self.server.counters().buffered, 0);
        let mut arrived = 0;
        for event in self.events.try_iter() {
            match event {
                Event::Arrived { .. } => arrived += 1,
                Event::Ended { who, .. } => {
                    assert_ne!(who.id, "healthy");
                    arrived -= 1;
                }
                Event::Refused { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(arrived, 0, "who arrived has not been told to be gone");
    }
}

thread_local! {
    static ARENA: RefCell<Option<Arena>> = const { RefCell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    ARENA.with_borrow_mut(|arena| arena.get_or_insert_with(Arena::new).try_with(bytes));
});
