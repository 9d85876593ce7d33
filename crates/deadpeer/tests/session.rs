//! Sessions over real connections with real faults, and over a pipe.
#![cfg(target_os = "linux")] // the lab's faults
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use deadpeer::session::tokio::{Driver, Session, accept, connect};
use deadpeer::session::{Bye, Config, Reason};
use deadpeer::{Loss, PeerLost, Policy};
use deadpeer_lab::{Pair, isolated};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn config(detect_ms: u64, survive_ms: u64) -> Config {
    let millis = Duration::from_millis;
    let policy = Policy::detect(millis(detect_ms)).survive(millis(survive_ms)).build().unwrap();
    Config::keeping(&policy).unwrap()
}

type Running = JoinHandle<std::io::Result<()>>;

/// Both ends of a session, each with its driver running.
async fn pair<S>(one: S, other: S, config: Config) -> [(Session, Running); 2]
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let run = |(session, driver): (Session, Driver<S>)| (session, tokio::spawn(driver.run()));
    let (here, there) = (config.clone().id("one"), config.id("other"));
    let (one, other) = tokio::try_join!(connect(one, &here), accept(other, &there)).unwrap();
    [run(one), run(other)]
}

fn tokio_stream(stream: &TcpStream) -> tokio::net::TcpStream {
    let stream = stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

async fn over(pair: &Pair, config: Config) -> [(Session, Running); 2] {
    self::pair(tokio_stream(&pair.client), tokio_stream(&pair.server), config).await
}

#[test]
fn messages_pass_both_ways_and_a_goodbye_ends_it() {
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(64);
        let [(one, running), (mut other, other_running)] = pair(here, there, config(9_000, 2_000)).await;
        let large = vec![7; 60_000];
        for message in [&b"first"[..], b"", &large] {
            let received = tokio::join!(one.send(message), other.recv()).1;
            assert_eq!(received.unwrap().as_deref(), Some(message));
        }
        let error = one.send(&vec![0; 70_000]).await.unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("65536"), "{error}");
        one.close(Bye::new(Reason::Restarting).back_in(SECOND * 30)).await;
        assert_eq!(other.recv().await.unwrap(), None);
        let goodbye = other.goodbye().unwrap();
        assert_eq!((goodbye.reason, goodbye.back_in), (Reason::Restarting, SECOND * 30));
        assert!(other.over().await.is_none());
        assert!(other.send(b"too late").await.is_err());
        running.await.unwrap().unwrap();
        other_running.await.unwrap().unwrap();
    });
}

#[test]
fn half_a_session_ends_and_the_other_half_goes_on() {
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(1024);
        let [(mut one, _), (mut other, _)] = pair(here, there, config(3_000, 500)).await;
        one.send(b"that was all").await.unwrap();
        one.end();
        assert_eq!(other.recv().await.unwrap().as_deref(), Some(&b"that was all"[..]));
        assert_eq!(other.recv().await.unwrap(), None);
        // Longer than a death takes: both go on beating.
        tokio::time::sleep(SECOND * 4).await;
        other.send(b"an answer").await.unwrap();
        assert_eq!(one.recv().await.unwrap().as_deref(), Some(&b"an answer"[..]));
        assert!(one.rtt().is_some() && other.rtt().is_some());
    });
}

#[test]
fn silence_is_noticed_in_time_on_both_sides_and_an_outage_is_survived() {
    isolated!(|| {
        runtime().block_on(async {
            let (silent, disturbed) = (Pair::loopback().unwrap(), Pair::loopback().unwrap());
            let config = config(4_000, 1_000);
            let mut lost = over(&silent, config.clone()).await;
            let mut survivors = over(&disturbed, config).await;
            let started = Instant::now();
            let (_severed, outage) = (silent.sever().unwrap(), disturbed.sever().unwrap());
            tokio::time::sleep(SECOND).await;
            drop(outage);
            for (session, running) in &mut lost {
                let error = session.recv().await.unwrap_err();
                let told = PeerLost::of(&error).unwrap();
                assert_eq!((error.kind(), told.cause), (ErrorKind::TimedOut, Loss::HeartbeatMissed));
                // The last beat came at most an interval before the cut. Late may be a busy machine.
                let taken = started.elapsed();
                assert!(taken >= SECOND * 2 && taken <= SECOND * 7, "{taken:?}");
                assert!(PeerLost::of(&running.await.unwrap().unwrap_err()).is_some());
            }
            tokio::time::sleep(SECOND * 3).await;
            let [(one, _), (other, _)] = &mut survivors;
            one.send(b"still here").await.unwrap();
            assert_eq!(other.recv().await.unwrap().as_deref(), Some(&b"still here"[..]));
        });
    });
}

#[test]
fn a_frozen_application_is_noticed_though_its_kernel_answers() {
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(1024);
        let config = config(2_000, 300);
        let (one, other) = tokio::try_join!(connect(here, &config), accept(there, &config)).unwrap();
        let running = tokio::spawn(one.1.run());
        // The other's driver is never run: its program hangs.
        let error = running.await.unwrap().unwrap_err();
        assert_eq!(PeerLost::of(&error).unwrap().cause, Loss::HeartbeatMissed);
        drop(other);
    });
}

#[test]
fn a_slow_reader_lives_and_loses_nothing() {
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(4096);
        let [(one, _), (mut other, _)] = pair(here, there, config(1_500, 200)).await;
        let sending = tokio::spawn(async move {
            for number in 0..2_000u32 {
                one.send(&[number.to_be_bytes().as_slice(), &[0; 1000]].concat()).await.unwrap();
            }
            one
        });
        // Twice as long as a death takes nobody takes anything; meanwhile the sender is held back.
        tokio::time::sleep(SECOND * 3).await;
        assert!(!sending.is_finished(), "the sender must wait for the reader");
        for number in 0..2_000u32 {
            let message = other.recv().await.unwrap().unwrap();
            assert_eq!(message[..4], number.to_be_bytes());
        }
        drop(sending.await.unwrap());
        assert_eq!(other.recv().await.unwrap(), None);
    });
}

#[test]
fn who_does_not_suit_is_told_why() {
    runtime().block_on(async {
        // A peer that is not willing to send often enough.
        let (here, there) = tokio::io::duplex(1024);
        let mut lazy = config(60_000, 5_000);
        lazy.terms.offer = lazy.terms.offer.sending(SECOND * 10);
        let impatient = config(2_000, 300);
        let (lazy, impatient) = tokio::join!(connect(here, &lazy), accept(there, &impatient));
        let (lazy, impatient) = (lazy.unwrap_err(), impatient.unwrap_err());
        assert_eq!((lazy.kind(), impatient.kind()), (ErrorKind::PermissionDenied, ErrorKind::TimedOut));
        assert!(impatient.to_string().contains("within 2 s"), "{impatient}");
        assert!(lazy.to_string().contains("too slow"), "{lazy}");

        // Another protocol, and nothing at all.
        let (here, mut there) = tokio::io::duplex(1024);
        tokio::io::AsyncWriteExt::write_all(&mut there, b"SSH-2.0-OpenSSH\r\n").await.unwrap();
        let mut quick = config(2_000, 300);
        assert_eq!(connect(here, &quick).await.unwrap_err().kind(), ErrorKind::InvalidData);
        let (here, _there) = tokio::io::duplex(1024);
        quick.terms.greeting = SECOND / 5;
        assert_eq!(connect(here, &quick).await.unwrap_err().kind(), ErrorKind::TimedOut);
        let (here, there) = tokio::io::duplex(1024);
        drop(there);
        assert!(accept(here, &quick).await.is_err());
    });
}

#[test]
fn a_killed_peer_and_one_that_sends_garbage_end_the_session() {
    isolated!(|| {
        runtime().block_on(async {
            let (killed, mad) = (Pair::loopback().unwrap(), Pair::loopback().unwrap());
            let [(mut one, _), (other, running)] = over(&killed, config(9_000, 2_000)).await;
            running.abort();
            let _ = running.await;
            drop((other, killed));
            let error = one.recv().await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
                "{error:?}"
            );

            let [(mut one, _), _other] = over(&mad, config(9_000, 2_000)).await;
            (&mad.server).write_all(&[0x79; 10]).unwrap();
            let error = one.recv().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        });
    });
}

#[test]
fn nothing_is_left_behind() {
    isolated!(|| {
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let runtime = runtime();
        let before = runtime.block_on(async {
            tokio::task::yield_now().await;
            descriptors()
        });
        runtime.block_on(async {
            for _ in 0..20 {
                let sockets = Pair::loopback().unwrap();
                let [(one, first), (other, second)] = over(&sockets, config(9_000, 2_000)).await;
                one.send(b"x").await.unwrap();
                drop((one, other));
                let ended = tokio::time::timeout(SECOND * 10, async { tokio::join!(first, second) });
                let (first, second) = ended.await.expect("drivers of dropped sessions end");
                first.unwrap().unwrap();
                second.unwrap().unwrap();
            }
        });
        assert_eq!(descriptors(), before);
        assert_eq!(runtime.metrics().num_alive_tasks(), 0);
    });
}

#[test]
fn a_session_can_be_a_stream() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(512);
        let [(one, _), (other, _)] = pair(here, there, config(9_000, 2_000)).await;
        let (mut one, other) = (one.into_stream(), other.into_stream());
        let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut reader, mut writer) = tokio::io::split(other);
        let echo = tokio::spawn(async move {
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
            reader.unsplit(writer)
        });
        let mut back = Vec::new();
        let (mut reader, mut writer) = tokio::io::split(&mut one);
        let write = async {
            writer.write_all(&bytes).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(write, reader.read_to_end(&mut back));
        read.unwrap();
        assert!(back == bytes, "the bytes changed");
        assert!(echo.await.unwrap().session().goodbye().is_none());
    });
}

mod blocking {
    use super::*;
    use deadpeer::session::Session;
    use std::thread;

    /// Both ends of a blocking session.
    fn pair(pair: &Pair, config: Config) -> (Session, Session) {
        let server = pair.server.try_clone().unwrap();
        let there = config.clone().id("other");
        let other = thread::spawn(move || Session::accept(server, &there).unwrap());
        let one = Session::connect(pair.client.try_clone().unwrap(), &config.id("one")).unwrap();
        (one, other.join().unwrap())
    }

    #[test]
    fn messages_pass_both_ways_and_a_goodbye_ends_it() {
        let sockets = Pair::loopback().unwrap();
        let (one, other) = pair(&sockets, config(9_000, 2_000));
        assert_eq!((one.peer_id(), other.peer_id()), ("other", "one"));
        let large = vec![7; 60_000];
        for message in [&b"first"[..], b"", &large] {
            one.send(message).unwrap();
            assert_eq!(other.recv().unwrap().as_deref(), Some(message));
        }
        assert_eq!(one.send(&vec![0; 70_000]).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(other.recv_within(SECOND / 10).unwrap_err().kind(), ErrorKind::WouldBlock);
        other.end();
        assert_eq!(one.recv().unwrap(), None, "the other has ended");
        one.send(b"and this half goes on").unwrap();
        assert_eq!(other.recv().unwrap().as_deref(), Some(&b"and this half goes on"[..]));
        one.close(Bye::new(Reason::Restarting).back_in(SECOND * 30));
        assert_eq!(other.recv().unwrap(), None);
        assert_eq!(other.goodbye().unwrap().back_in, SECOND * 30);
        assert!(matches!(other.over_within(SECOND * 10), Some(None)), "a goodbye is no error");
    }

    #[test]
    fn silence_is_noticed_an_outage_and_a_slow_reader_survive() {
        isolated!(|| {
            let sockets = [0; 3].map(|_| Pair::loopback().unwrap());
            let [silent, disturbed, slow] = &sockets;
            let config = config(4_000, 1_000);
            let lost = pair(silent, config.clone());
            let survivors = pair(disturbed, config.clone());
            let (eager, lazy) = pair(slow, config);
            let (_severed, outage) = (silent.sever().unwrap(), disturbed.sever().unwrap());
            let started = Instant::now();
            let sending = thread::spawn(move || {
                (0..4_000u32)
                    .try_for_each(|n| eager.send(&[&n.to_be_bytes()[..], &[0; 4000]].concat()))
                    .unwrap();
                eager
            });
            thread::sleep(SECOND);
            drop(outage);
            for session in [&lost.0, &lost.1] {
                let error = session.recv().unwrap_err();
                assert_eq!(PeerLost::of(&error).unwrap().cause, Loss::HeartbeatMissed);
                assert!(PeerLost::of(&session.send(b"x").unwrap_err()).is_some());
            }
            assert!(started.elapsed() >= SECOND * 2);
            thread::sleep(SECOND * 3);
            survivors.0.send(b"still here").unwrap();
            assert_eq!(survivors.1.recv().unwrap().as_deref(), Some(&b"still here"[..]));
            assert!(!sending.is_finished(), "the sender waits for the reader");
            for n in 0..4_000u32 {
                assert_eq!(lazy.recv().unwrap().unwrap()[..4], n.to_be_bytes());
            }
            drop(sending.join().unwrap());
            assert_eq!(lazy.recv().unwrap(), None);
        });
    }

    #[test]
    fn a_session_can_be_a_stream() {
        use std::io::Read;
        let sockets = Pair::loopback().unwrap();
        let (one, other) = pair(&sockets, config(9_000, 2_000));
        let bytes: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let sent = bytes.clone();
        let writing = thread::spawn(move || {
            let mut one = one.into_stream();
            one.write_all(&sent).unwrap();
            one.session().end();
            one
        });
        let mut back = Vec::new();
        other.into_stream().read_to_end(&mut back).unwrap();
        assert!(back == bytes, "the bytes changed");
        drop(writing.join().unwrap());
    }

    #[test]
    fn no_thread_and_no_descriptor_is_left_behind() {
        isolated!(|| {
            let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
            let before = (count("fd"), count("task"));
            for _ in 0..10 {
                let sockets = Pair::loopback().unwrap();
                let sessions = pair(&sockets, config(9_000, 2_000));
                sessions.0.send(b"x").unwrap();
            }
            let deadline = Instant::now() + SECOND * 10;
            while (count("fd"), count("task")) != before {
                assert!(Instant::now() < deadline, "{:?} after {before:?}", (count("fd"), count("task")));
                thread::sleep(SECOND / 50);
            }
        });
    }
}
