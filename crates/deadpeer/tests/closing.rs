//! What is written before a stream is dropped arrives, also where the policy accepts an RTO ceiling.
#![cfg(target_os = "linux")] // the lab's faults
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use deadpeer::{
    Known, Policy, Protection, Set, Settings, apply, apply_settings, before_close, guard, protection,
};
use deadpeer_lab::{Direction, Network, Pair, fill, isolated};

const SECOND: Duration = Duration::from_secs(1);

/// A policy whose plan has a ceiling of 1 s.
fn policy() -> Policy {
    let policy = Policy::detect(SECOND * 30).slow_readers(true).accept_rto_ceiling(true).build().unwrap();
    let plan = policy.plan(&deadpeer::platform()).unwrap();
    assert_eq!(plan.settings.rto_max, Set::To(SECOND), "{plan:?}");
    policy
}

/// Where the kernel has no ceiling for one socket (before Linux 6.15) there is nothing to lose.
fn there_is_a_ceiling() -> bool {
    let there = deadpeer::platform().rto_max_per_socket;
    if !there {
        eprintln!("skipped: this kernel has no TCP_RTO_MAX_MS");
    }
    there
}

#[derive(Clone, Copy, Debug)]
enum Closed {
    /// A guarded stream of std is dropped.
    Std,
    /// One of tokio is dropped, with its runtime.
    Tokio,
    /// A stream with a ceiling is closed after `before_close`.
    Prepared,
    /// One is closed as it is.
    AsItIs,
}

impl Closed {
    /// Protects `stream`, lets `write` write to it, and closes it as this kind does.
    fn after(self, stream: TcpStream, write: impl FnOnce(&TcpStream)) {
        let ceiling = Settings { rto_max: Set::To(SECOND), ..Settings::default() };
        match self {
            Self::Std => {
                let guarded = guard(stream, &policy()).unwrap();
                assert_eq!(guarded.protection().rto_max, Known::Is(Some(SECOND)));
                write(guarded.get_ref());
            }
            Self::Tokio => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
                let _inside = runtime.enter();
                write(&stream);
                stream.set_nonblocking(true).unwrap();
                let guarded = guard(tokio::net::TcpStream::from_std(stream).unwrap(), &policy()).unwrap();
                drop(guarded);
            }
            Self::Prepared => {
                let _ = apply_settings(&stream, &ceiling).unwrap();
                write(&stream);
                before_close(&stream).unwrap();
            }
            Self::AsItIs => {
                let _ = apply_settings(&stream, &ceiling).unwrap();
                write(&stream);
            }
        }
    }
}

/// How many bytes of `sent` arrive, and whether an end of file follows them.
fn arrived(mut server: &TcpStream) -> (usize, bool) {
    let (mut all, mut buffer) = (0, vec![0; 64 * 1024]);
    server.set_read_timeout(Some(SECOND * 120)).unwrap();
    loop {
        match server.read(&mut buffer) {
            Ok(0) => return (all, true),
            Ok(length) => all += length,
            Err(_) => return (all, false),
        }
    }
}

#[test]
fn everything_arrives_at_a_reader_that_pauses() {
    isolated!(|| {
        if !there_is_a_ceiling() {
            return;
        }
        // 60 s for what is promised; for what is not, the pause that was measured to lose data.
        let kinds = [(Closed::Std, 60), (Closed::Tokio, 60), (Closed::Prepared, 60), (Closed::AsItIs, 15)];
        thread::scope(|scope| {
            for (kind, pause) in kinds {
                scope.spawn(move || {
                    let Pair { client, server } = Pair::loopback().unwrap();
                    let mut written = 0;
                    kind.after(client, |stream| written = fill(stream).unwrap());
                    thread::sleep(SECOND * pause);
                    let (all, whole) = arrived(&server);
                    eprintln!("{kind:?}: {all} of {written} bytes after {pause} s");
                    match kind {
                        Closed::AsItIs => assert!(all < written && !whole, "this kernel loses nothing?"),
                        _ => assert_eq!((all, whole), (written, true), "{kind:?}"),
                    }
                });
            }
        });
    });
}

#[test]
fn everything_arrives_after_an_outage_of_ten_seconds() {
    isolated!(|| {
        if !there_is_a_ceiling() {
            return;
        }
        let network = Network::new().unwrap();
        // Closed as soon as it is written, and when the pauses have grown to the ceiling.
        let cases = [Closed::Std, Closed::Tokio, Closed::Prepared, Closed::AsItIs];
        let cases = cases.into_iter().flat_map(|kind| [(kind, Duration::ZERO), (kind, SECOND * 5)]);
        let pairs: Vec<_> =
            cases.map(|case| (case, Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap())).collect();
        let cut = network.cut(Direction::Both).unwrap();
        let pairs = pairs.into_iter().map(|(case, Pair { client, server })| {
            let closing = thread::spawn(move || {
                let (kind, after) = case;
                kind.after(client, |mut stream| {
                    stream.write_all(&[7; 5_000]).unwrap();
                    thread::sleep(after);
                });
            });
            (case, server, closing)
        });
        let pairs: Vec<_> = pairs.collect();
        thread::sleep(SECOND * 10);
        cut.heal().unwrap();
        for ((kind, after), server, closing) in pairs {
            closing.join().unwrap();
            if let Closed::AsItIs = kind {
                server.set_read_timeout(Some(SECOND)).unwrap();
                let lost = (&server).read(&mut [0; 16]);
                assert!(lost.is_err(), "{after:?}: this kernel loses nothing?");
                continue;
            }
            assert_eq!(arrived(&server), (5_000, true), "{kind:?}, closed {after:?} after it was written");
        }
    });
}

#[test]
fn a_stream_keeps_its_ceiling_until_it_closes_and_one_without_is_left_alone() {
    isolated!(|| {
        if !there_is_a_ceiling() {
            return;
        }
        let rto_max = |protection: std::io::Result<Protection>| protection.unwrap().rto_max;
        let pair = Pair::loopback().unwrap();
        // The descriptor's other owner sees what the drop leaves.
        let other = pair.client.try_clone().unwrap();
        let guarded = guard(pair.client, &policy()).unwrap();
        let stream = guarded.into_inner();
        assert_eq!(rto_max(protection(&stream)), Known::Is(Some(SECOND)), "`into_inner` leaves it");
        drop(guard(stream, &policy()).unwrap());
        assert_eq!(rto_max(protection(&other)), Known::Is(Some(SECOND * 120)));
        // A policy that accepts none sets none, and puts nothing back that somebody else has set.
        let _ = apply(&other, &policy()).unwrap();
        drop(guard(&other, &Policy::detect(SECOND * 30).build().unwrap()).unwrap());
        assert_eq!(rto_max(protection(&other)), Known::Is(Some(SECOND)));
        before_close(&other).unwrap();
        before_close(&other).unwrap();
        assert_eq!(rto_max(protection(&other)), Known::Is(Some(SECOND * 120)));
        assert!(before_close(&std::fs::File::open("/dev/null").unwrap()).is_err());
    });
}
