//! Sessions of programs that take nothing, over streams that are slow, buffer, or fail, with peers that hang.
#![cfg(target_os = "linux")] // the lab's faults
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::session::tokio::{accept, connect, connect_over};
use deadpeer::session::{Config, Connector, Layered, Session, Transition, What};
use deadpeer::{AsSock, Loss, PeerLost, Policy};
use deadpeer_lab::{Pair, freeze, isolated};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::runtime::Runtime;

const SECOND: Duration = Duration::from_secs(1);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn config() -> Config {
    Config::keeping(&policy()).unwrap()
}

fn policy() -> Policy {
    Policy::detect(SECOND * 2).survive(Duration::from_millis(300)).build().unwrap()
}

#[test]
fn a_program_that_never_receives_learns_of_the_death_in_time() {
    isolated!(|| {
        let sockets = Pair::loopback().unwrap();
        let server = sockets.server.try_clone().unwrap();
        let pushing = thread::spawn(move || Session::accept(server, &config()).unwrap());
        let client = Session::connect(sockets.client.try_clone().unwrap(), &config()).unwrap();
        let server = pushing.join().unwrap();
        // As much as the client's window, and more; it takes nothing.
        let mut pushed = 0;
        while server.send_within(&[7; 10_000], SECOND / 2).is_ok() {
            pushed += 1;
        }
        assert!(pushed >= 12, "{pushed} messages");
        // Heartbeats pass beside the data that waits.
        assert!(client.over_within(SECOND * 4).is_none());
        let severed = sockets.sever().unwrap();
        let began = Instant::now();
        let over = client.over_within(SECOND * 10).unwrap().unwrap();
        assert!(began.elapsed() < SECOND * 4, "{:?}", began.elapsed());
        let lost = PeerLost::of(&over).unwrap();
        assert_eq!(lost.cause, Loss::HeartbeatMissed);
        // What was sent and heard before it.
        assert!(lost.events.len() > 3 && lost.events.last().unwrap().what == What::Lost, "{lost:?}");
        assert!(lost.events.iter().any(|event| event.what == What::HeardData));
        assert!(PeerLost::of(&client.send(b"x").unwrap_err()).is_some());
        // What had arrived is received before the error.
        assert!(client.recv().unwrap().is_some());
        drop(severed);
    });
}

#[test]
fn a_message_above_the_peers_limit_is_an_error_of_send() {
    let sockets = Pair::loopback().unwrap();
    let small = thread::spawn({
        let server = sockets.server.try_clone().unwrap();
        move || Session::accept(server, &config().max_message(1_000)).unwrap()
    });
    let client = Session::connect(sockets.client.try_clone().unwrap(), &config()).unwrap();
    assert_eq!(client.send(&[0; 1_001]).unwrap_err().kind(), ErrorKind::InvalidInput);
    client.send(&[0; 1_000]).unwrap();
    assert_eq!(small.join().unwrap().recv().unwrap().map(|message| message.len()), Some(1_000));
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (ours, theirs) = (config(), config().max_message(1_000));
        let ((one, driver), (_other, running)) =
            tokio::try_join!(connect(here, &ours), accept(there, &theirs)).unwrap();
        tokio::spawn(driver.run());
        tokio::spawn(running.run());
        assert_eq!(one.send(&[0; 1_001]).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        one.send(&[0; 1_000]).await.unwrap();
    });
}

/// A stream whose writes fail from some moment on; only then its reads give what had arrived before.
struct Failing {
    fails: Arc<AtomicBool>,
    failed: bool,
    arrived: VecDeque<u8>,
    inner: tokio::io::DuplexStream,
}

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.failed {
            return Pin::new(&mut self.inner).poll_read(cx, buffer);
        }
        while buffer.remaining() > 0
            && let Some(byte) = self.arrived.pop_front()
        {
            buffer.put_slice(&[byte]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Failing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.fails.load(Relaxed) {
            self.failed = true;
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[test]
fn a_write_that_fails_delivers_what_had_arrived_and_then_its_own_error() {
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(1024);
        let mut arrived = VecDeque::new();
        for message in [&b"one"[..], b"two", b"three"] {
            arrived.extend(deadpeer_core::session::data_head(message.len() as u16, false));
            arrived.extend(message);
        }
        let fails = Arc::new(AtomicBool::new(false));
        let stream = Failing { fails: Arc::clone(&fails), failed: false, arrived, inner: here };
        let config = config();
        let ((mut session, driver), (_other, running)) =
            tokio::try_join!(connect(stream, &config), accept(there, &config)).unwrap();
        tokio::spawn(running.run());
        let driving = tokio::spawn(driver.run());
        tokio::task::yield_now().await;
        // The next heartbeat fails; its error must not hide what lies in the kernel.
        fails.store(true, Relaxed);
        for expected in [&b"one"[..], b"two", b"three"] {
            assert_eq!(session.recv().await.unwrap().as_deref(), Some(expected));
        }
        assert_eq!(session.recv().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(driving.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_stream_that_buffers_is_flushed() {
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (here, there) = (tokio::io::BufStream::new(here), tokio::io::BufStream::new(there));
        let config = config();
        let ((one, driver), (mut other, running)) =
            tokio::try_join!(connect(here, &config), accept(there, &config)).unwrap();
        tokio::spawn(driver.run());
        tokio::spawn(running.run());
        one.send(b"hello").await.unwrap();
        one.flush().await.unwrap();
        assert_eq!(other.recv().await.unwrap().as_deref(), Some(&b"hello"[..]));
        // Heartbeats get through, too.
        assert!(tokio::time::timeout(SECOND * 4, one.over()).await.is_err());
    });
}

#[test]
fn a_message_on_a_slow_link_is_no_death() {
    runtime().block_on(async {
        let (here, near) = tokio::io::duplex(1024);
        let (far, there) = tokio::io::duplex(1024);
        let (mut near_in, mut near_out) = tokio::io::split(near);
        let (mut far_in, mut far_out) = tokio::io::split(far);
        // 4 kB/s, a piece each 100 ms.
        tokio::spawn(async move {
            let mut buffer = [0; 400];
            while let Ok(length @ 1..) = near_in.read(&mut buffer).await {
                tokio::time::sleep(SECOND / 10).await;
                far_out.write_all(&buffer[..length]).await.unwrap();
            }
        });
        tokio::spawn(async move { tokio::io::copy(&mut far_in, &mut near_out).await });
        let config = config();
        let ((one, driver), (mut other, running)) =
            tokio::try_join!(connect(here, &config), accept(there, &config)).unwrap();
        tokio::spawn(driver.run());
        tokio::spawn(running.run());
        let began = Instant::now();
        one.send(&[7; 20_000]).await.unwrap();
        assert_eq!(other.recv().await.unwrap().map(|message| message.len()), Some(20_000));
        assert!(began.elapsed() > SECOND * 4, "the link was not slow");
        assert!(one.over().now_or_never().is_none());
    });
}

trait NowOrNever: Future + Sized {
    fn now_or_never(self) -> Option<Self::Output> {
        match std::pin::pin!(self).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

impl<F: Future> NowOrNever for F {}

#[test]
fn a_stopped_peer_is_told_from_a_host_that_is_gone() {
    let start = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python_peer.py");
        let child =
            Command::new("python3").args([script, "connect", &port]).stdout(Stdio::null()).spawn().unwrap();
        (listener.accept().unwrap().0, child)
    };
    let cause = |error: &io::Error| PeerLost::of(error).map(|lost| lost.cause);
    let (stream, mut child) = start();
    let session = Session::accept(stream, &config()).unwrap();
    let frozen = freeze(&mut child).unwrap();
    assert_eq!(cause(&session.recv().unwrap_err()), Some(Loss::Hung));
    drop(frozen);
    child.kill().unwrap();
    child.wait().unwrap();

    let (stream, mut child) = start();
    runtime().block_on(async {
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let config = config();
        let accepted =
            deadpeer::session::tokio::accept_over(stream, |stream| stream.as_sock(), &config, |_| Ok(()))
                .await;
        let (mut session, driver) = accepted.unwrap();
        tokio::spawn(driver.run());
        let frozen = freeze(&mut child).unwrap();
        assert_eq!(cause(&session.recv().await.unwrap_err()), Some(Loss::Hung));
        drop(frozen);
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_place_that_never_greets_is_given_up_and_the_one_that_works_is_tried_first() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let places = [&silent, &server].map(|listener| listener.local_addr().unwrap().to_string());
    thread::spawn(move || {
        for stream in server.incoming() {
            drop(Session::accept(stream.unwrap(), &config()));
        }
    });
    let tried = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&tried);
    let mut how = deadpeer::Return::default();
    how.least = Duration::from_millis(10);
    let mut connector =
        Connector::new(places.clone(), &policy()).unwrap().returning(how).on(move |transition| {
            if let Transition::Connecting(address) = transition {
                noted.lock().unwrap().push(address.to_string());
            }
        });
    let began = Instant::now();
    connector.connect().unwrap();
    assert!(began.elapsed() < SECOND * 3, "{:?}", began.elapsed());
    connector.connect().unwrap();
    assert_eq!(*tried.lock().unwrap(), [&*places[0], &*places[1], &*places[1]]);
}

#[test]
fn halves_sinks_and_streams_and_futures_that_are_dropped() {
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(1024);
        let config = config();
        let ((one, driver), (other, running)) =
            tokio::try_join!(connect(here, &config), accept(there, &config)).unwrap();
        tokio::spawn(driver.run());
        tokio::spawn(running.run());
        let (sender, mut answers) = one.split();
        let (mut back, mut messages) = other.split();
        for worker in 0..4_u8 {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                for number in 0..100_u8 {
                    SinkExt::send(&mut sender, [worker, number]).await.unwrap();
                }
            });
        }
        drop(sender);
        let mut next = [0; 4];
        loop {
            // Futures of recv are dropped again and again: no message is lost with them.
            let received = tokio::select! {
                biased;
                () = tokio::task::yield_now() => continue,
                received = messages.next() => received,
            };
            let Some(message) = received.transpose().unwrap() else { break };
            assert_eq!(message[1], next[usize::from(message[0])]);
            next[usize::from(message[0])] += 1;
        }
        assert_eq!(next, [100; 4], "the last sender's end came after all messages");
        back.send_all(&mut futures_util::stream::iter((0..3_u8).map(|n| Ok([n])))).await.unwrap();
        SinkExt::<[u8; 1]>::close(&mut back).await.unwrap();
        let all: Vec<_> = (&mut answers).map(Result::unwrap).collect().await;
        assert_eq!(all, [[0], [1], [2]]);
    });
}

/// A layer that keeps what it reads until it has 1,000 bytes, as TLS does with its records.
struct Records {
    tcp: TcpStream,
    kept: Vec<u8>,
    ready: VecDeque<u8>,
}

impl Read for Records {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.ready.is_empty() {
                return self.ready.read(buffer);
            }
            let mut bytes = [0; 1_000];
            let room = 1_000 - self.kept.len();
            let length = self.tcp.read(&mut bytes[..room])?;
            if length == 0 {
                return Ok(0);
            }
            self.kept.extend_from_slice(&bytes[..length]);
            if self.kept.len() == 1_000 {
                self.ready.extend(self.kept.drain(..));
            }
        }
    }
}

impl Write for Records {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

#[test]
fn bytes_below_a_layer_are_signs_of_life() {
    let sockets = Pair::loopback().unwrap();
    let mut peer = sockets.server.try_clone().unwrap();
    let writing = thread::spawn(move || {
        let mut hello = Vec::new();
        let ours = config().terms.hello("slow", b"").to_owned();
        deadpeer_core::session::Frame::Hello(ours).encode(&mut hello);
        // A frame to be skipped fills the record.
        hello.extend([0x80, 0x03, 0xe8]);
        hello.resize(1_000, 0);
        peer.write_all(&hello).unwrap();
        // Then less than a record, for three times as long as a silent peer lives.
        for _ in 0..60 {
            thread::sleep(SECOND / 10);
            if peer.write_all(&[0]).is_err() {
                break;
            }
        }
        peer
    });
    let tcp = sockets.client.try_clone().unwrap();
    let layer = Records { tcp: tcp.try_clone().unwrap(), kept: Vec::new(), ready: VecDeque::new() };
    let session = Session::connect(Layered::new(layer, tcp), &config()).unwrap();
    assert!(session.over_within(Duration::from_millis(5_500)).is_none());
    let peer = writing.join().unwrap();
    let over = session.over_within(SECOND * 10).unwrap().unwrap();
    assert!(PeerLost::of(&over).is_some(), "{over}");
    drop(peer);
}

#[test]
fn a_dropped_driver_ends_its_session() {
    runtime().block_on(async {
        let (here, there) = tokio::io::duplex(1024);
        let config = config();
        let ((mut one, driver), _other) =
            tokio::try_join!(connect_over(here, |_| unreachable_socket(), &config), accept(there, &config))
                .unwrap_or_else(|error| panic!("{error}"));
        let waiting = tokio::spawn(async move { one.recv().await });
        tokio::task::yield_now().await;
        drop(driver);
        assert!(waiting.await.unwrap().is_err());
    });
}

/// Some socket: what is asked of it must do no harm where it is not the stream's.
fn unreachable_socket() -> deadpeer::BorrowedSock<'static> {
    static SOCKET: std::sync::OnceLock<TcpListener> = std::sync::OnceLock::new();
    SOCKET.get_or_init(|| TcpListener::bind("127.0.0.1:0").unwrap()).as_sock()
}
