//! Told to stop, both say goodbye.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::served::Served;
use crate::told::{SOON, Told};

const GOALS: [&str; 4] = ["--detect", "6s", "--tolerate", "1s"];

fn signal(told: &Told, signal: Signal) {
    kill_process(Pid::from_child(&told.program), signal).unwrap();
}

fn connect(address: &str) -> Told {
    Told::start(&[&["connect", address, "--json", "--id", "client"], &GOALS[..]].concat())
}

#[test]
fn whoever_is_told_to_stop_says_why_it_goes_and_ends_well() {
    for kind in [Signal::INT, Signal::TERM] {
        let mut served = Served::start("127.0.0.1:0", &GOALS);
        let address = served.address.to_string();
        let (mut stays, mut leaves) = (connect(&address), connect(&address));
        for told in [&mut stays, &mut leaves] {
            told.next("arrived");
        }
        served.all("arrived", 2);
        signal(&leaves, kind);
        let left = served.next("left");
        assert_eq!((&left["cause"], &left["id"]), (&"left".into(), &"client".into()), "{left}");
        assert!(leaves.program.wait().unwrap().success());

        signal(&served, kind);
        let left = stays.next("left");
        assert!(left["text"].as_str().unwrap().contains("restart"), "{left}");
        assert!(served.program.wait().unwrap().success());
        // The server comes back, and so does the client, without being asked.
        let mut served = Served::start(&address, &GOALS);
        served.next("arrived");
        stays.next("arrived");
    }
}

#[test]
fn a_gateway_that_stops_ends_what_it_carries() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = target.local_addr().unwrap().to_string();
    let served = Served::start("127.0.0.1:0", &[&["--forward", &forward], &GOALS[..]].concat());
    let server = served.address.to_string();
    let mut gateway = Told::start(
        &[&["connect", &server, "--json", "--listen", "0", "--stop-within", "500ms"], &GOALS[..]].concat(),
    );
    let address = gateway.next("listening")["address"].as_str().unwrap().to_owned();
    let program = TcpStream::connect(address).unwrap();
    let (accepted, _) = target.accept().unwrap();
    let began = Instant::now();
    signal(&gateway, Signal::TERM);
    assert!(gateway.program.wait().unwrap().success());
    for mut stream in [program, accepted] {
        stream.set_read_timeout(Some(SOON)).unwrap();
        // Never an end of file, which could be taken for the end of the data.
        let read = std::io::Read::read(&mut stream, &mut [0]);
        assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    served.until_metric_is("deadpeer_connections", 0.0);
}
