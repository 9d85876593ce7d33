//! Who is here, over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::served::Served;
use crate::told::Told;

#[test]
fn it_says_who_is_here_and_counts_what_happened() {
    let goals = ["--detect", "4s", "--tolerate", "1s"];
    let mut served = Served::start("127.0.0.1:0", &goals);
    let address = served.address.to_string();
    let client = |id| {
        let mut told = Told::start(&[&["connect", &address, "--json", "--id", id], &goals[..]].concat());
        told.next("arrived");
        told
    };
    assert_eq!(served.sessions("")["sessions"], serde_json::json!([]));
    let (pi, desk) = (client("pi-17"), client("desk"));
    served.all("arrived", 2);
    // The first beats measure the round trip.
    let until = std::time::Instant::now() + crate::told::SOON;
    let all = loop {
        let all = served.sessions("");
        if all["sessions"].as_array().unwrap().iter().all(|session| session["rtt_ms"].is_f64()) {
            break all;
        }
        assert!(std::time::Instant::now() < until, "{all}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!((&all["schema"], &all["count"]), (&1.into(), &2.into()));
    assert_eq!((&all["sessions"][0]["id"], &all["sessions"][1]["id"]), (&"desk".into(), &"pi-17".into()));
    for session in all["sessions"].as_array().unwrap() {
        assert!(session["rtt_ms"].as_f64().unwrap() < 4_000.0, "{session}");
        assert!(session["silent_ms"].as_u64().unwrap() < 4_000, "{session}");
        assert!(session["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{session}");
    }
    assert_eq!(served.sessions("?id=pi")["count"], 1);
    assert_eq!(served.sessions("?id=nobody")["count"], 0);
    assert!(served.get("/").contains("/metrics"));
    assert_eq!(served.metric("deadpeer_sessions"), 2.0);
    assert!(served.metric("deadpeer_rtt_seconds{quantile=\"1\"}") < 4.0);

    drop((pi, desk)); // killed: their kernels close the connections
    served.all("died", 2);
    TcpStream::connect(served.address).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let refused = served.next("refused");
    assert_eq!(refused["cause"], "malformed", "{refused}");
    let ends = served.get("/metrics");
    let ends = ends.lines().filter(|line| line.starts_with("deadpeer_ends_total{"));
    let ends: f64 = ends.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum();
    assert_eq!(ends, 2.0);
    assert_eq!(served.metric("deadpeer_refusals_total{cause=\"malformed\"}"), 1.0);
    assert_eq!(served.metric("deadpeer_arrivals_total"), 2.0);
}

#[test]
fn what_is_not_there_is_said_in_http() {
    let served = Served::start("127.0.0.1:0", &[]);
    let mut stream = TcpStream::connect(served.status).unwrap();
    stream.write_all(b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
}
