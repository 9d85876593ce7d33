//! What works on every system, over loopback: without the lab's faults, which are Linux'.
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::session::{Config, Connector, Session};
use deadpeer::{
    Bound, Known, Loss, Mechanism, Peek, PeerLost, Policy, Verdict, apply, detection, diagnose, guard,
    is_lost, lost_within, platform, protection,
};

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    Policy::detect(30 * SECOND).survive(5 * SECOND).build().unwrap()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

#[test]
fn a_policy_is_applied_and_what_the_system_did_not_take_has_a_name() {
    let (client, _server) = pair();
    let applied = apply(&client, &policy()).unwrap();
    let keepalive = applied.now.active_keepalive().unwrap();
    assert!(keepalive.idle() < 30 * SECOND);
    let plan = policy().plan(&platform()).unwrap();
    let options = platform().options(&plan.settings);
    for gap in &applied.gaps {
        assert!(options.iter().any(|option| option.name == gap.option), "{gap}");
        assert!(gap.error.is_some(), "{gap}");
    }
    // The prediction counts with the probes that the system sends.
    let Bound::Within { most, .. } = detection(&applied.now, &platform(), SECOND).idle else { panic!() };
    assert!(most <= 30 * SECOND, "{most:?}");
    assert!(protection(&client).unwrap().keepalive.value().unwrap().enabled);
}

#[test]
fn a_guarded_stream_reads_writes_and_knows_a_close() {
    let (client, mut server) = pair();
    let mut client = guard(client, &policy()).unwrap();
    client.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    server.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    assert_eq!(client.is_lost(), None);
    assert_eq!(client.lost_within(Duration::from_millis(50)), None);
    drop(server);
    let lost = client.lost_within(10 * SECOND).unwrap();
    assert_eq!((lost.cause, lost.noticed_by), (Loss::Closed, Mechanism::EndOfFile));
    assert_eq!(client.read(&mut heard).unwrap(), 0);
}

#[test]
fn ones_own_patience_is_no_loss() {
    let (client, mut server) = pair();
    let mut client = guard(client, &policy()).unwrap();
    client.get_ref().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = client.read(&mut [0; 5]).unwrap_err();
    assert!(PeerLost::of(&error).is_none(), "{error}");
    server.write_all(b"hello").unwrap();
    client.get_ref().set_read_timeout(Some(10 * SECOND)).unwrap();
    assert_eq!(client.read(&mut [0; 5]).unwrap(), 5);
}

#[test]
fn data_does_not_end_the_wait_for_the_end() {
    let (client, mut server) = pair();
    server.write_all(b"unread").unwrap();
    let started = Instant::now();
    assert_eq!(lost_within(&client, 200 * Duration::from_millis(1)).unwrap(), None);
    assert!(started.elapsed() >= Duration::from_millis(190), "{:?}", started.elapsed());
}

#[test]
fn looking_takes_nothing() {
    let (mut client, mut server) = pair();
    let nothing = diagnose(&client).unwrap();
    assert_eq!((nothing.peek, nothing.pending_error, nothing.lost), (Peek::Nothing, None, None));
    assert!(nothing.readiness.writable && !nothing.readiness.readable);
    // Heard a moment ago; elsewhere no age is told.
    let verdict = if cfg!(target_os = "linux") { Verdict::Alive } else { Verdict::Unverified };
    assert_eq!(nothing.judgement.verdict(), verdict);
    server.write_all(b"data").unwrap();
    let data = loop {
        let data = diagnose(&client).unwrap();
        if data.readiness.readable {
            break data;
        }
        thread::yield_now();
    };
    assert_eq!((data.peek, data.facts.unread), (Peek::Data, 4));
    let mut heard = [0; 4];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"data");
}

#[test]
fn what_is_not_set_is_off() {
    let (client, _server) = pair();
    let protection = protection(&client).unwrap();
    assert!(!protection.keepalive.value().unwrap().enabled);
    assert!(!matches!(protection.user_timeout, Known::Is(Some(_))));
    assert_eq!(detection(&protection, &platform(), SECOND).idle, Bound::Never);
}

/// Wine 8 turns a reset into an end of file.
mod not_on_wine_8 {
    use super::*;

    #[test]
    fn a_reset_is_a_reset() {
        let (mut client, server) = pair();
        client.write_all(b"never read").unwrap();
        while diagnose(&server).unwrap().facts.unread == 0 {
            thread::yield_now();
        }
        drop(server);
        assert_eq!(lost_within(&client, 10 * SECOND).unwrap().unwrap().cause, Loss::Reset);
        let mut guarded = guard(pair().0, &policy()).unwrap();
        assert!(guarded.read(&mut [0; 8]).is_ok());
        assert_eq!(is_lost(guarded.get_ref()).unwrap().unwrap().cause, Loss::Closed);
    }
}

/// Two sides that beat, over any address.
fn config() -> Config {
    Config::keeping(&quick()).unwrap()
}

fn quick() -> Policy {
    Policy::detect(2 * SECOND).survive(Duration::from_millis(500)).build().unwrap()
}

#[test]
fn sessions_exchange_messages_and_say_goodbye() {
    let (client, server) = pair();
    let server = thread::spawn(move || Session::accept(server, &config().id("server")).unwrap());
    let client = Session::connect(client, &config().id("client")).unwrap();
    let server = server.join().unwrap();
    assert_eq!((client.peer_id(), server.peer_id()), ("server", "client"));
    // Larger than the buffers of a loopback connection: both directions wait at times.
    let message = vec![7; 60_000];
    for _ in 0..20 {
        client.send(&message).unwrap();
        assert_eq!(server.recv().unwrap().as_deref(), Some(&message[..]));
    }
    // Nobody speaks, and both live on their heartbeats.
    assert!(client.over_within(3 * SECOND).is_none());
    drop(client);
    assert_eq!(server.recv().unwrap(), None);
}

#[test]
fn a_session_notices_a_peer_that_falls_silent() {
    let (client, mut server) = pair();
    let opened = thread::spawn(move || Session::connect(client, &config().id("client")).unwrap());
    // A peer that greets, and then hangs: a greeting is what another session says first.
    let (greeter, mut wire) = pair();
    let _unanswered = thread::spawn(move || Session::connect(greeter, &config().id("silent")).map(drop));
    let mut greeting = [0; 512];
    let length = wire.read(&mut greeting).unwrap();
    server.write_all(&greeting[..length]).unwrap();
    let session = opened.join().unwrap();
    let started = Instant::now();
    let error = session.recv().unwrap_err();
    let lost = PeerLost::of(&error).unwrap();
    // Its kernel answers, as far as ours can tell.
    let cause = if cfg!(target_os = "linux") { Loss::Hung } else { Loss::HeartbeatMissed };
    assert_eq!((lost.cause, lost.noticed_by), (cause, Mechanism::Heartbeat));
    assert!(started.elapsed() < 10 * SECOND, "{:?}", started.elapsed());
}

#[test]
fn a_connector_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let session = Session::accept(listener.accept().unwrap().0, &config()).unwrap();
            assert_eq!(session.recv().unwrap().as_deref(), Some(&b"hello"[..]));
        }
    });
    let mut connector = Connector::new([address], &quick()).unwrap();
    for _ in 0..2 {
        let session = connector.connect().unwrap();
        session.send(b"hello").unwrap();
        assert_eq!(session.recv().unwrap(), None);
    }
    server.join().unwrap();
}

mod on_tokio {
    use deadpeer::session::tokio::{accept, connect};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_close_is_known_without_reading_and_data_is_not_taken() {
        let (client, mut server) = pair().await;
        let mut client = guard(client, &policy()).unwrap();
        server.write_all(b"data").await.unwrap();
        client.get_ref().readable().await.unwrap();
        let not_yet = tokio::time::timeout(Duration::from_millis(300), client.lost()).await;
        assert!(not_yet.is_err(), "{not_yet:?}");
        let mut heard = [0; 4];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"data");
        drop(server);
        let lost = tokio::time::timeout(10 * SECOND, client.lost()).await.unwrap().unwrap();
        assert_eq!(lost.cause, Loss::Closed);
    }

    #[tokio::test]
    async fn sessions_beat() {
        let (client, server) = pair().await;
        let config = config();
        let (client, server) = tokio::try_join!(connect(client, &config), accept(server, &config)).unwrap();
        let ((client, driver), (mut server, other)) = (client, server);
        tokio::spawn(driver.run());
        tokio::spawn(other.run());
        client.send(b"hello").await.unwrap();
        assert_eq!(server.recv().await.unwrap().as_deref(), Some(&b"hello"[..]));
        let over = tokio::time::timeout(3 * SECOND, client.over()).await;
        assert!(over.is_err(), "{over:?}");
        drop(client);
        assert_eq!(server.recv().await.unwrap(), None);
    }
}
