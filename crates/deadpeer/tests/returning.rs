//! Connectors that are refused, interrupted, or kept waiting; and the ends of streams that fail.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use deadpeer::AsSock;
#[cfg(target_os = "linux")]
use deadpeer::session::tokio::connect_over;
use deadpeer::session::tokio::{accept, connect};
use deadpeer::session::{Bye, Config, Connector, Reason, Session, Transition};
use deadpeer::{Policy, Return, session};
use futures_util::Sink;
use tokio::runtime::Runtime;

const SECOND: Duration = Duration::from_secs(1);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn policy() -> Policy {
    Policy::detect(SECOND * 2).survive(SECOND / 5).build().unwrap()
}

fn config() -> Config {
    Config::keeping(&policy()).unwrap()
}

/// Waits of 10 ms to 20 ms.
fn soon() -> Return {
    let mut how = Return::default();
    (how.least, how.most) = (Duration::from_millis(10), Duration::from_millis(20));
    how
}

/// A server that refuses the first client for `back_in`, and admits the second one.
fn refusing_once(back_in: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let refuse = |_: &session::Peer| Err(Bye::new(Reason::Overloaded).back_in(back_in));
        Session::accept_if(listener.accept().unwrap().0, &config(), refuse).unwrap_err();
        let _ = Session::accept(listener.accept().unwrap().0, &config()).unwrap().recv();
    });
    address
}

#[test]
fn a_refusal_that_names_a_time_is_obeyed() {
    let began = Instant::now();
    let mut connector = Connector::new([refusing_once(SECOND)], &policy()).unwrap().returning(soon());
    connector.connect().unwrap();
    assert!(began.elapsed() >= SECOND, "{:?}", began.elapsed());
    runtime().block_on(async {
        let began = Instant::now();
        let place = refusing_once(SECOND);
        let mut connector = session::tokio::Connector::new([place], &policy()).unwrap().returning(soon());
        connector.connect().await.unwrap();
        assert!(began.elapsed() >= SECOND, "{:?}", began.elapsed());
    });
}

#[test]
fn a_connect_that_is_dropped_while_it_waits_does_not_shorten_the_wait() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (tell, told) = mpsc::channel();
    let mut how = Return::default();
    (how.least, how.most) = (SECOND * 20, SECOND * 20);
    runtime().block_on(async {
        let mut connector = session::tokio::Connector::new([nobody], &policy()).unwrap().returning(how).on(
            move |transition| {
                if matches!(transition, Transition::Connecting(_)) {
                    tell.send(()).unwrap();
                }
            },
        );
        for _ in 0..5 {
            let tried = tokio::time::timeout(SECOND / 10, connector.connect()).await;
            assert!(tried.is_err(), "nobody listens");
        }
    });
    assert_eq!(told.try_iter().count(), 1, "tries within 20 s");
}

#[test]
fn a_handshake_with_a_silent_server_is_given_up_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = silent.local_addr().unwrap().to_string();
    let (tell, told) = mpsc::channel();
    let mut how = soon();
    how.tries = Some(0);
    thread::spawn(move || {
        let mut connector =
            Connector::new([place], &policy()).unwrap().returning(how).secured(|mut tcp, _, config| {
                // A TLS handshake on a blocking socket: it reads the server's answer.
                tcp.read_exact(&mut [0; 100])?;
                Session::connect(tcp, config)
            });
        tell.send(connector.connect().map(drop)).unwrap();
    });
    let ended = told.recv_timeout(SECOND * 4).expect("the handshake waits without a limit");
    ended.unwrap_err();
    drop(silent);
}

#[cfg(target_os = "linux")]
#[test]
fn on_tokio_a_failed_write_delivers_what_the_reactor_has_not_yet_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, going) = mpsc::channel::<()>();
    let (done, finished) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut config = config();
        config.id = "server".into();
        let stream = listener.accept().unwrap().0;
        let raw = stream.try_clone().unwrap();
        let session = Session::accept(stream, &config).unwrap();
        going.recv().unwrap();
        let (sender, _receiver) = session.split();
        sender.send(b"the last words").unwrap();
        assert!(sender.flush_within(SECOND).unwrap());
        // A reset, as by a host that restarts.
        rustix::net::connect_unspec(&raw).unwrap();
        done.send(()).unwrap();
    });
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut session, driver) = connect_over(stream, |s| s.as_sock(), &config()).await.unwrap();
        tokio::spawn(driver.run());
        tokio::time::sleep(SECOND / 10).await;
        go.send(()).unwrap();
        // The runtime's thread is busy meanwhile: its reactor sees neither the data nor the reset.
        finished.recv().unwrap();
        let _ = session.send(b"too late").await;
        assert_eq!(session.recv().await.unwrap().as_deref(), Some(&b"the last words"[..]));
        session.recv().await.unwrap_err();
    });
    server.join().unwrap();
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_task_that_waits_for_the_end_is_not_woken_by_heartbeats() {
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(1024);
        let config = config();
        let ((one, driver), (other, running)) =
            tokio::try_join!(connect(here, &config), accept(there, &config)).unwrap();
        tokio::spawn(driver.run());
        tokio::spawn(running.run());
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut over = Box::pin(one.over());
        for _ in 0..20 {
            assert!(over.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            tokio::time::sleep(SECOND / 10).await;
        }
        let woken = count.0.load(Relaxed);
        assert_eq!(woken, 0, "wake-ups in 2 s without an end");
        drop(other);
        over.await;
    });
}

#[test]
fn a_sink_is_closed_when_its_end_is_written() {
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(1024);
        let config = config();
        let ((one, driver), (_other, running)) =
            tokio::try_join!(connect(here, &config), accept(there, &config)).unwrap();
        let (mut sender, _receiver) = one.split();
        let waker = Waker::noop();
        let closed = Sink::<&[u8]>::poll_close(Pin::new(&mut sender), &mut Context::from_waker(waker));
        assert!(closed.is_pending(), "the driver has not run: nothing is written");
        tokio::spawn(driver.run());
        tokio::spawn(running.run());
        let closing = std::future::poll_fn(|cx| Sink::<&[u8]>::poll_close(Pin::new(&mut sender), cx));
        tokio::time::timeout(SECOND, closing).await.unwrap().unwrap();
    });
}

/// A layer that can't write before it has read, as TLS in its handshake.
struct Handshake {
    tcp: TcpStream,
    writes: Arc<AtomicUsize>,
}

impl Read for Handshake {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.read(buffer)
    }
}

impl Write for Handshake {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        self.writes.fetch_add(1, Relaxed);
        Err(ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_layer_that_waits_for_its_peer_does_not_spin() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, writes) = (tcp.try_clone().unwrap(), Arc::new(AtomicUsize::new(0)));
    let layer = Handshake { tcp, writes: Arc::clone(&writes) };
    let error = Session::connect(session::Layered::new(layer, socket), &config()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let writes = writes.load(Relaxed);
    assert!(writes < 1_000, "{writes} writes in the 2 s of the greeting");
}
