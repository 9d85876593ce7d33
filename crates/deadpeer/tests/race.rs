//! Several threads at one dead connection: whichever takes the kernel's error, all tell the same cause.
#![cfg(target_os = "linux")] // the lab's faults
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::{Guarded, Loss, PeerLost, Policy, guard};
use deadpeer_lab::{Pair, isolated};
use socket2::SockRef;

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    Policy::detect(SECOND * 6).survive(SECOND).build().unwrap()
}

/// What a read or a write says at the end.
fn told(result: io::Result<usize>) -> Option<Loss> {
    match result {
        Ok(0) => Some(Loss::Closed),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(PeerLost::of(&error).unwrap_or_else(|| panic!("unexplained: {error:?}")).cause),
    }
}

fn read_on(stream: &Guarded<TcpStream>) -> Loss {
    let mut buffer = [0; 64];
    loop {
        if let Some(cause) = told((&*stream).read(&mut buffer)) {
            return cause;
        }
    }
}

/// How often each of the ways to learn of an end told which cause.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<(&'static str, Loss), usize>>);

impl Tally {
    fn count(&self, way: &'static str, cause: Loss) {
        *self.0.lock().unwrap().entry((way, cause)).or_default() += 1;
    }

    /// All of `rounds` have told `cause` in every way.
    fn assert_all(self, cause: Loss, rounds: usize) {
        let told = self.0.into_inner().unwrap();
        eprintln!("{rounds} rounds: {told:?}");
        assert!(told.iter().all(|((_, told), count)| (*told, *count) == (cause, rounds)), "{told:?}");
    }
}

/// One connection that ends by `ends`, watched by threads of every kind.
fn watched(stream: &Guarded<TcpStream>, tally: &Tally, ends: impl FnOnce()) {
    let ready = Barrier::new(6);
    thread::scope(|scope| {
        for [first, again] in [["reader", "reader, again"], ["other reader", "other reader, again"]] {
            let ready = &ready;
            scope.spawn(move || {
                ready.wait();
                tally.count(first, read_on(stream));
                tally.count(again, read_on(stream));
            });
        }
        scope.spawn(|| {
            ready.wait();
            tally.count("lost_within", stream.lost_within(SECOND * 60).unwrap().cause);
        });
        scope.spawn(|| {
            ready.wait();
            tally.count("over_within", stream.over_within(SECOND * 60).unwrap().cause);
        });
        scope.spawn(|| {
            ready.wait();
            let lost = loop {
                if let Some(lost) = stream.is_lost() {
                    break lost;
                }
                thread::yield_now();
            };
            tally.count("is_lost", lost.cause);
        });
        ready.wait();
        ends();
    });
}

fn reset(server: TcpStream) {
    SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
}

#[test]
fn a_reset_is_a_reset_for_every_thread() {
    isolated!(|| {
        let (tally, started, mut rounds) = (Tally::default(), Instant::now(), 0);
        while rounds < 2_000 && (rounds < 500 || started.elapsed() < SECOND * 10) {
            let Pair { client, server } = Pair::loopback().unwrap();
            let stream = guard(client, &policy()).unwrap();
            // With data and without, and while the client has shut down its sending side.
            if rounds % 2 == 0 {
                (&server).write_all(b"truncated").unwrap();
            }
            if rounds % 3 == 0 {
                stream.get_ref().shutdown(Shutdown::Write).unwrap();
            }
            watched(&stream, &tally, || reset(server));
            rounds += 1;
        }
        tally.assert_all(Loss::Reset, rounds);
    });
}

#[test]
fn a_writer_that_comes_too_late_knows_the_cause() {
    isolated!(|| {
        let started = Instant::now();
        for round in 0.. {
            if round >= 2_000 || (round >= 300 && started.elapsed() > SECOND * 8) {
                break;
            }
            let Pair { client, server } = Pair::loopback().unwrap();
            let stream = guard(client, &policy()).unwrap();
            let ended = AtomicBool::new(false);
            let causes = thread::scope(|scope| {
                let reader = scope.spawn(|| read_on(&stream));
                let writer = scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                    loop {
                        if let Some(cause) = told((&stream).write(b"?")) {
                            return cause;
                        }
                    }
                });
                reset(server);
                ended.store(true, Ordering::Relaxed);
                [reader.join().unwrap(), writer.join().unwrap()]
            });
            assert_eq!(causes, [Loss::Reset; 2], "round {round}");
        }
    });
}

#[test]
fn a_timeout_is_a_timeout_for_every_thread() {
    isolated!(|| {
        const MANY: usize = 40;
        let (tally, pairs) = (Tally::default(), (0..MANY).map(|_| Pair::loopback().unwrap()));
        let pairs: Vec<_> = pairs.collect();
        thread::scope(|scope| {
            for pair in &pairs {
                scope.spawn(|| {
                    let stream = guard(pair.client.try_clone().unwrap(), &policy()).unwrap();
                    let _severed = pair.sever().unwrap();
                    watched(&stream, &tally, || (&stream).write_all(b"lost").unwrap());
                });
            }
        });
        tally.assert_all(Loss::SilentInFlight, MANY);
    });
}

#[cfg(feature = "tokio")]
#[test]
fn tasks_that_share_a_stream_tell_one_cause() {
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    isolated!(|| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_io().build().unwrap();
        let (tally, started, mut rounds) = (Arc::new(Tally::default()), Instant::now(), 0);
        while rounds < 2_000 && (rounds < 500 || started.elapsed() < SECOND * 8) {
            let Pair { client, server } = Pair::loopback().unwrap();
            client.set_nonblocking(true).unwrap();
            if rounds % 2 == 0 {
                (&server).write_all(b"truncated").unwrap();
            }
            runtime.block_on(async {
                let stream = guard(tokio::net::TcpStream::from_std(client).unwrap(), &policy()).unwrap();
                let stream = Arc::new(stream);
                let share = || (Arc::clone(&stream), Arc::clone(&tally));
                let (reading, count) = share();
                let reader = tokio::spawn(async move {
                    let mut buffer = [0; 4];
                    loop {
                        if let Some(cause) = told((&*reading).read(&mut buffer).await) {
                            return count.count("read", cause);
                        }
                    }
                });
                let (waiting, count) = share();
                let lost =
                    tokio::spawn(async move { count.count("lost", waiting.lost().await.unwrap().cause) });
                let (waiting, count) = share();
                let over =
                    tokio::spawn(async move { count.count("over", waiting.over().await.unwrap().cause) });
                reset(server);
                for task in [reader, lost, over] {
                    task.await.unwrap();
                }
                let write = (&*stream).write(b"?").await;
                tally.count("write", told(write).unwrap());
            });
            rounds += 1;
        }
        Arc::into_inner(tally).unwrap().assert_all(Loss::Reset, rounds);
    });
}

#[test]
fn a_whole_stream_is_whole_for_every_thread() {
    isolated!(|| {
        let started = Instant::now();
        for round in 0.. {
            if round >= 1_000 || (round >= 300 && started.elapsed() > SECOND * 5) {
                break;
            }
            let Pair { client, server } = Pair::loopback().unwrap();
            let stream = guard(client, &policy()).unwrap();
            // Both orders of closing: CLOSE_WAIT, and TIME_WAIT, which a descriptor shows as CLOSE.
            if round % 2 == 0 {
                stream.get_ref().shutdown(Shutdown::Write).unwrap();
            }
            let tally = Tally::default();
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| tally.count("read", read_on(&stream)));
                }
                scope.spawn(|| tally.count("lost_within", stream.lost_within(SECOND * 60).unwrap().cause));
                drop(server);
            });
            let told = tally.0.into_inner().unwrap();
            assert!(told.keys().all(|(_, cause)| *cause == Loss::Closed), "round {round}: {told:?}");
            // After FIN the peer answers with RST; the stream was whole all the same.
            let _ = (&stream).write(b"?");
            thread::yield_now();
            let _ = stream.is_lost();
            assert_eq!((&stream).read(&mut [0; 8]).unwrap(), 0, "round {round}");
        }
    });
}
