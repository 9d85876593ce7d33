//! Peers that mean harm.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use deadpeer_core::session::{Frame, Hello, Offer, data_head};
use deadpeer_lab::isolated;

use crate::served::Served;
use crate::swarm::Swarm;

/// Each is sent on a connection of its own.
fn insults() -> Vec<Vec<u8>> {
    let second = Duration::from_secs(1);
    let mut good = Vec::new();
    Frame::Hello(Hello { id: "x", ..Hello::new(Offer::new(second, second, 3 * second)) }).encode(&mut good);
    let mut bad = good.clone();
    bad[20] = 255; // an id of 255 bytes
    let huge = [&good[..], &data_head(u16::MAX, false)].concat();
    let half = [&good[..], &data_head(16_384, true), &[0; 50]].concat();
    vec![
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], // TLS
        vec![0xff; 4096],
        vec![1],
        good[..7].to_vec(),
        bad,
        huge,
        half,
        [&good[..], &good[..]].concat(),
        [&good[..], &[3; 40_000]].concat(),
        Vec::new(),
    ]
}

#[test]
fn a_hundred_thousand_hostile_connections_leave_the_healthy_ones_untouched() {
    const THREADS: usize = 2;
    const EACH: usize = 50_000;
    isolated!(|| {
        let args = ["--detect", "6s", "--tolerate", "1s", "--greeting", "2s"];
        let mut served = Served::start("127.0.0.1:0", &args);
        let before = served.held();
        let healthy = Swarm::new(served.address, 100, Duration::from_secs(6));
        served.all("arrived", 100);
        let server = served.address;
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(move || {
                    let insults = insults();
                    // A few hundred at a time stay open, so that slow ones are slow.
                    let mut open = std::collections::VecDeque::new();
                    for number in 0..EACH {
                        let Ok(mut stream) = TcpStream::connect(server) else { continue };
                        // Ports are not to run out: no TIME_WAIT.
                        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                        let _ = stream.write_all(&insults[number % insults.len()]);
                        open.push_back(stream);
                        if open.len() > 300 {
                            open.pop_front();
                        }
                    }
                });
            }
        });
        served.until_metric_is("deadpeer_connections", 100.0);
        served.nobody_dies(Duration::from_secs(1));
        assert!(!(0..100).any(|number| healthy.is_over(number)));
        assert_eq!(served.metric("deadpeer_buffered_bytes"), 0.0);
        let peak = served.peak();
        assert!(peak < 64 * 1024, "{peak} KB at the most");
        drop(healthy);
        served.until_metric_is("deadpeer_connections", 0.0);
        served.until_held_is(before);
    });
}
