//! A crowd of healthy clients, of which some die.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use deadpeer::session::tokio::Connector;
use deadpeer::{Policy, Return};
use deadpeer_lab::isolated;

use crate::served::Served;
use crate::swarm::Swarm;
use crate::told::SOON;

const DETECT: Duration = Duration::from_secs(12);
/// Beyond the promise, on a machine that does other things as well; the benchmark holds it to 150 ms.
const LATE: Duration = Duration::from_secs(3);

#[test]
fn of_15_000_sessions_1_000_fall_silent_and_exactly_those_are_told_in_time() {
    isolated!(|| {
        let mut served = Served::start("127.0.0.1:0", &["--detect", "12s", "--tolerate", "3s"]);
        let before = served.held();
        let swarm = Swarm::new(served.address, 15_000, DETECT);
        served.all("arrived", 15_000);
        assert_eq!(served.metric("deadpeer_sessions"), 15_000.0);
        assert_eq!(served.sessions("?id=client%2077")["count"], 111);

        let chosen = |number: usize| number % 15 == 7;
        let silenced = swarm.silence(chosen);
        let mut died = BTreeSet::new();
        for event in served.all("died", 1_000) {
            assert_eq!(event["cause"], "hung", "{event}");
            died.insert(event["id"].as_str().unwrap().to_owned());
        }
        let after = silenced.elapsed();
        assert!(after <= DETECT + LATE, "the last was told only after {after:?}");
        assert_eq!(died, (0..15_000).filter(|n| chosen(*n)).map(|n| format!("client {n}")).collect());
        assert!(swarm.is_over(7) && !swarm.is_over(8));
        // And nobody else.
        served.nobody_dies(DETECT / 2);
        assert_eq!(served.metric("deadpeer_sessions"), 14_000.0);

        drop(swarm);
        served.until_metric_is("deadpeer_connections", 0.0);
        served.until_held_is(before);
        assert_eq!(served.metric("deadpeer_untold_events_total"), 0.0);
    });
}

#[test]
fn a_server_that_is_killed_gets_its_5_000_clients_back() {
    isolated!(|| {
        let args = ["--detect", "6s", "--tolerate", "1s"];
        let mut served = Served::start("127.0.0.1:0", &args);
        let address = served.address.to_string();
        let policy = Policy::detect(Duration::from_secs(6)).survive(Duration::from_secs(1)).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for number in 0..5_000 {
            let mut how = Return::default();
            (how.least, how.most) = (Duration::from_millis(100), Duration::from_secs(3));
            let connector = Connector::new([address.clone()], &policy).unwrap();
            let mut connector = connector.id(format!("client {number}")).returning(how);
            runtime.spawn(async move {
                loop {
                    let session = connector.connect().await.unwrap();
                    session.over().await;
                }
            });
        }
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let clients = std::thread::spawn(move || {
            // Their sessions end with the runtime, without a goodbye.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        });
        served.all("arrived", 5_000);
        served.program.kill().unwrap();
        served.program.wait().unwrap();
        let mut served = Served::start(&address, &args);
        let began = Instant::now();
        let back: BTreeSet<_> = served
            .all("arrived", 5_000)
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(back.len(), 5_000);
        assert!(began.elapsed() < SOON);
        drop(stop);
        clients.join().unwrap();
        served.until_metric_is("deadpeer_connections", 0.0);
    });
}

#[test]
fn without_descriptors_it_refuses_and_goes_on() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    use std::io::{Read, Write};

    isolated!(|| {
        let mut served = Served::start("127.0.0.1:0", &["--detect", "6s", "--tolerate", "1s"]);
        let swarm = Swarm::new(served.address, 10, Duration::from_secs(6));
        served.all("arrived", 10);
        let pid = Pid::from_child(&served.program);
        let limit = |current| Rlimit { current: Some(current), maximum: Some(20_000) };
        let (held, _) = served.held();
        prlimit(Some(pid), Resource::Nofile, limit(held as u64 - 2)).unwrap();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(served.address).unwrap();
            stream.write_all(b"\x01DP").unwrap();
            // BYE: overloaded, back in 5 s, no text.
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said);
            assert!(said.ends_with(&[7, 2, 0, 0, 0x13, 0x88, 0]), "{said:?}");
        }
        let hindered = served.next("hindered");
        assert!(hindered["text"].as_str().unwrap().contains("ulimit -n"), "{hindered}");
        prlimit(Some(pid), Resource::Nofile, limit(20_000)).unwrap();
        let more = Swarm::new(served.address, 10, Duration::from_secs(6));
        served.all("arrived", 10);
        served.nobody_dies(Duration::from_secs(1));
        drop((swarm, more));
    });
}
