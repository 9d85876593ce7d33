//! A client that comes back.
#![cfg(target_os = "linux")] // the lab's faults
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::session::{self, Bye, Config, Connector, Reason, Session, Transition};
use deadpeer::{Policy, Return};

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    Policy::detect(SECOND * 6).survive(SECOND).build().unwrap()
}

fn config() -> Config {
    Config::keeping(&policy()).unwrap()
}

/// Short waits.
fn soon() -> Return {
    let mut how = Return::default();
    how.least = Duration::from_millis(20);
    how
}

/// Words for what a connector did, in order.
fn noted(transition: &Transition<'_>) -> String {
    match transition {
        Transition::Connecting(_) => "connecting",
        Transition::Failed(..) => "failed",
        Transition::Up(_) => "up",
        Transition::Lost(Some(_), _) => "lost",
        Transition::Lost(None, Some(_)) => "goodbye",
        Transition::Lost(None, None) => "dropped",
        Transition::Waiting(_) => "waiting",
        _ => "?",
    }
    .to_owned()
}

fn serve(listener: &TcpListener) -> Session {
    Session::accept(listener.accept().unwrap().0, &config().id("server")).unwrap()
}

#[test]
fn every_transition_is_told_and_a_goodbye_is_obeyed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody listens at the first place.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let places = [nobody.to_string(), listener.local_addr().unwrap().to_string()];
    let (tell, told) = mpsc::channel();
    let mut connector = Connector::new(places, &policy())
        .unwrap()
        .returning(soon())
        .on(move |transition| tell.send(noted(transition)).unwrap());
    let server = thread::spawn(move || {
        serve(&listener).close(Bye::new(Reason::Restarting).back_in(SECOND));
        let second = serve(&listener);
        (second.recv().unwrap(), listener)
    });
    let first = connector.connect().unwrap();
    assert_eq!(first.recv().unwrap(), None);
    assert_eq!(first.goodbye().unwrap().reason, Reason::Restarting);
    let left = Instant::now();
    let second = connector.connect().unwrap();
    assert!(left.elapsed() >= SECOND, "the goodbye asked for a second");
    second.send(b"back again").unwrap();
    assert_eq!(server.join().unwrap().0.as_deref(), Some(&b"back again"[..]));
    let told: Vec<_> = told.try_iter().collect();
    let expected = ["connecting", "failed", "connecting", "up", "goodbye", "waiting", "connecting", "up"];
    assert_eq!(told, expected);
}

#[test]
fn a_limit_of_tries_is_an_error_that_says_why() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut how = soon();
    how.tries = Some(2);
    let mut connector = Connector::new([nobody.to_string()], &policy()).unwrap().returning(how);
    assert_eq!(connector.connect().unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn tokio_clients_come_back_to_a_server_that_was_killed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let streams: thread::JoinHandle<TcpStream> = thread::spawn(move || {
        // The first server dies with its connection open, after its HELLO.
        let (stream, _) = listener.accept().unwrap();
        let dying = stream.try_clone().unwrap();
        let session = Session::accept(stream, &config().id("mortal")).unwrap();
        dying.shutdown(std::net::Shutdown::Both).unwrap();
        drop(session);
        let (stream, _) = listener.accept().unwrap();
        let last = stream.try_clone().unwrap();
        let session = Session::accept(stream, &config().id("immortal")).unwrap();
        assert_eq!(session.recv().unwrap().as_deref(), Some(&b"hello"[..]));
        last
    });
    runtime.block_on(async {
        let (tell, told) = mpsc::channel();
        let mut connector = session::tokio::Connector::new([place], &policy())
            .unwrap()
            .id("client")
            .returning(soon())
            .on(move |transition| tell.send(noted(transition)).unwrap());
        let mut first = connector.connect().await.unwrap();
        assert_eq!(first.peer_id(), "mortal");
        let _ = first.recv().await; // an error or a goodbye, whichever was faster
        let second = connector.connect().await.unwrap();
        assert_eq!(second.peer_id(), "immortal");
        second.send(b"hello").await.unwrap();
        let told: Vec<_> = told.try_iter().collect();
        assert_eq!(
            (told[0].as_str(), told[1].as_str(), told.last().unwrap().as_str()),
            ("connecting", "up", "up")
        );
        assert!(told.contains(&"waiting".to_owned()), "{told:?}");
        tokio::task::spawn_blocking(move || streams.join().unwrap()).await.unwrap();
    });
}
