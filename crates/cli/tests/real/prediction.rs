//! The kernel keeps what the detection time predicts.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{row, scan};
use deadpeer_lab::{Pair, isolated, sever};
use socket2::{SockRef, TcpKeepalive};

#[test]
fn keepalive_deaths_come_when_predicted() {
    isolated!(|| {
        let cases = [(4, 2, 2), (5, 1, 5), (5, 5, 3)];
        let measured: Vec<_> = cases
            .map(|(idle, interval, probes)| {
                thread::spawn(move || {
                    let pair = Pair::loopback().unwrap();
                    let values = TcpKeepalive::new()
                        .with_time(Duration::from_secs(idle))
                        .with_interval(Duration::from_secs(interval))
                        .with_retries(probes);
                    SockRef::from(&pair.client).set_tcp_keepalive(&values).unwrap();
                    let rows = scan(&[]);
                    let predicted =
                        row(&rows, pair.client.local_addr().unwrap())["detection"]["idle"].clone();
                    let (client, server) =
                        (pair.client.try_clone().unwrap(), pair.server.try_clone().unwrap());
                    let _severed = sever(&client, &server).unwrap();
                    // The handshake was the last that was heard, before the scan; which takes its time on a busy machine.
                    let started = Instant::now();
                    let heard = Duration::from_secs_f64(
                        row(&scan(&[]), client.local_addr().unwrap())["idle_ms"].as_f64().unwrap() / 1000.0,
                    );
                    let mut stream = &pair.client;
                    let error = stream.read(&mut [0]).unwrap_err();
                    (predicted, heard + started.elapsed(), error.kind())
                })
            })
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        for (predicted, seen, error) in measured {
            assert_eq!(error, std::io::ErrorKind::TimedOut);
            let ms = |key: &str| Duration::from_secs_f64(predicted[key].as_f64().unwrap() / 1000.0);
            let slack = Duration::from_millis(100); // a tick and our own reading of the clock
            assert!(seen + slack >= ms("least_ms"), "{seen:?}: {predicted}");
            assert!(seen <= ms("most_ms") + Duration::from_millis(500), "{seen:?}: {predicted}");
        }
    });
}
