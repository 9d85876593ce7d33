//! Ends, and what only looks like one: the cause that is told is the true one, or it is said that nobody knows.
#![cfg(target_os = "linux")] // the lab's faults
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::{
    Loss, Mechanism, PeerLost, Policy, apply_settings, diagnose, guard, is_lost, is_over, lost_within,
    over_within,
};
use deadpeer_lab::{Pair, isolated};
use deadpeer_os::linux::sockopt::{self, Name};
use socket2::{Domain, SockRef, Socket, Type};

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    Policy::detect(SECOND * 6).survive(SECOND).build().unwrap()
}

fn reset(server: TcpStream) {
    SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
}

fn cause(lost: std::io::Result<Option<PeerLost>>) -> Option<Loss> {
    lost.unwrap().map(|lost| lost.cause)
}

fn set(socket: &impl AsFd, option: Name, value: i32) {
    sockopt::set(socket.as_fd(), option, value).unwrap();
}

/// Leaves something in the error queue, so that poll(2) says POLLERR while no error is pending.
fn fill_error_queue(stream: &TcpStream, how: Queued) {
    match how {
        Queued::Timestamp => {
            let flags = libc::SOF_TIMESTAMPING_TX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
            set(stream, sockopt::SO_TIMESTAMPING, flags as i32);
            assert_eq!((&*stream).write(b"stamped").unwrap(), 7);
        }
        Queued::ZeroCopy => {
            set(stream, sockopt::SO_ZEROCOPY, 1);
            let sent = SockRef::from(stream).send_with_flags(&[7; 64], libc::MSG_ZEROCOPY).unwrap();
            assert_eq!(sent, 64);
        }
    }
    while !diagnose(stream).unwrap().readiness.error {
        thread::yield_now();
    }
}

#[derive(Clone, Copy, Debug)]
enum Queued {
    Timestamp,
    ZeroCopy,
}

/// The processor time of this thread: proc_pid_schedstat(5).
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Runs on a runtime without timers.
fn on_tokio<F: Future>(stream: &TcpStream, run: impl FnOnce(tokio::net::TcpStream) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    runtime.block_on(async { run(tokio::net::TcpStream::from_std(stream).unwrap()).await })
}

#[test]
fn what_waits_in_the_error_queue_is_no_end() {
    isolated!(|| {
        for how in [Queued::Timestamp, Queued::ZeroCopy] {
            let Pair { client, server } = Pair::loopback().unwrap();
            let guarded = guard(client.try_clone().unwrap(), &policy()).unwrap();
            fill_error_queue(&client, how);
            let (started, before) = (Instant::now(), processor_time());
            assert_eq!(lost_within(&client, SECOND).unwrap(), None, "{how:?}");
            assert_eq!(over_within(&client, SECOND / 2).unwrap(), None, "{how:?}");
            assert!(started.elapsed() >= SECOND * 3 / 2, "{how:?}: it waits all the time");
            let spent = processor_time() - before;
            assert!(spent < SECOND / 10, "{how:?}: {spent:?} of processor time");
            assert_eq!((is_lost(&client).unwrap(), is_over(&client).unwrap()), (None, None));
            assert_eq!((guarded.is_lost(), guarded.is_over()), (None, None));
            assert_eq!((guarded.lost_within(SECOND / 10), diagnose(&client).unwrap().lost), (None, None));

            // With the queue still unread, the end is noticed and has its cause.
            let watcher = thread::spawn(move || guarded.lost_within(SECOND * 20).unwrap().cause);
            thread::sleep(SECOND / 5);
            reset(server);
            assert_eq!(watcher.join().unwrap(), Loss::Reset, "{how:?}");
        }
    });
}

#[test]
fn tokio_does_not_take_the_error_queue_for_an_end_and_does_not_spin() {
    isolated!(|| {
        for how in [Queued::Timestamp, Queued::ZeroCopy] {
            for over in [false, true] {
                let Pair { client, server } = Pair::loopback().unwrap();
                fill_error_queue(&client, how);
                let before = processor_time();
                let killer = thread::spawn(move || {
                    thread::sleep(SECOND);
                    reset(server);
                });
                let started = Instant::now();
                let lost = on_tokio(&client, |stream| async move {
                    let guarded = guard(stream, &policy()).unwrap();
                    if over { guarded.over().await } else { guarded.lost().await }
                });
                assert_eq!(lost.unwrap().cause, Loss::Reset, "{how:?}");
                assert!(started.elapsed() >= SECOND * 9 / 10, "{how:?}: {:?}", started.elapsed());
                let spent = processor_time() - before;
                assert!(spent < SECOND / 10, "{how:?}: {spent:?} of processor time");
                killer.join().unwrap();
            }
        }
    });
}

/// Connects without waiting.
fn connecting(to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let error = socket.connect(&to.into()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS));
    socket
}

/// A listener whose queue is full, so that it answers nobody; and what fills it.
fn answering_nobody() -> (Socket, SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let queue = vec![connecting(address), connecting(address)];
    thread::sleep(SECOND / 10);
    (listener, address, queue)
}

#[test]
fn a_connect_that_timed_out_was_never_a_connection() {
    isolated!(|| {
        std::fs::write("/proc/sys/net/ipv4/tcp_syn_retries", "1").unwrap();
        std::fs::write("/proc/sys/net/ipv4/tcp_syn_linear_timeouts", "0").unwrap();
        let (_listener, address, _queue) = answering_nobody();
        // By the number of SYNs, and by the user timeout.
        for (timeout, noticed_by) in [(0, Mechanism::Retransmissions), (2_000, Mechanism::UserTimeout)] {
            let sockets = [(); 3].map(|()| {
                let socket = connecting(address);
                set(&socket, sockopt::TCP_USER_TIMEOUT, timeout);
                TcpStream::from(socket)
            });
            assert_eq!(is_lost(&sockets[0]).unwrap(), None, "the attempt goes on");
            let lost = lost_within(&sockets[0], SECOND * 20).unwrap().unwrap();
            assert_eq!((lost.cause, lost.noticed_by), (Loss::NeverConnected, noticed_by), "{lost}");
            assert_eq!(std::io::Error::from(lost.clone()).kind(), ErrorKind::TimedOut);
            assert!(lost.to_string().starts_with("the connection was never established"), "{lost}");
            // Its error was taken, and still it says so.
            assert_eq!(cause(is_lost(&sockets[0])), Some(Loss::NeverConnected));
            lost_within(&sockets[1], SECOND * 20).unwrap().unwrap();
            let mut guarded = guard(&sockets[2], &Policy::detect(SECOND * 30).build().unwrap()).unwrap();
            let error = guarded.get_mut().read(&mut [0; 8]);
            assert!(error.is_err() || guarded.is_lost().is_some());
        }
        // A connect(2) that waits: the kernel forgets all of the attempt.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        set(&socket, sockopt::TCP_USER_TIMEOUT, 1_000);
        let error = PeerLost::explain(&socket, socket.connect(&address.into()).unwrap_err());
        assert_eq!(PeerLost::of(&error).unwrap().cause, Loss::NeverConnected);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_refused_connect_is_refused() {
    isolated!(|| {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = connecting(nobody);
        let lost = lost_within(&socket, SECOND * 5).unwrap().unwrap();
        assert_eq!((lost.cause, lost.noticed_by), (Loss::Refused, Mechanism::Reset));
        assert_eq!(lost.to_string(), "the attempt to connect was refused");
        assert_eq!(std::io::Error::from(lost).kind(), ErrorKind::ConnectionRefused);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let error = PeerLost::explain(&socket, socket.connect(&nobody.into()).unwrap_err());
        assert_eq!(PeerLost::of(&error).unwrap().cause, Loss::Refused);
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn what_is_no_connection_is_said_to_be_none() {
    isolated!(|| {
        let fresh = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        for lost in [is_lost(&fresh), is_over(&fresh), lost_within(&fresh, SECOND)] {
            let lost = lost.unwrap().unwrap();
            assert_eq!((lost.cause, lost.noticed_by), (Loss::NeverConnected, Mechanism::Local));
            assert_eq!(std::io::Error::from(lost).kind(), ErrorKind::NotConnected);
        }
        assert_eq!(diagnose(&fresh).unwrap().lost.map(|lost| lost.cause), Some(Loss::NeverConnected));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(is_lost(&listener).unwrap_err().kind(), ErrorKind::NotConnected);
        // Sockets of other kinds are errors, before any waiting and after their end.
        let (unix, other) = UnixStream::pair().unwrap();
        assert!(lost_within(&unix, SECOND * 60).is_err() && guard(&unix, &policy()).is_err());
        drop(other);
        assert!(is_lost(&unix).is_err() && is_over(&unix).is_err());
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(is_lost(&udp).is_err());
    });
}

#[test]
fn a_cause_that_another_reader_took_is_not_known_any_more() {
    isolated!(|| {
        // A timeout and a reset, read by somebody else.
        let pair = Pair::loopback().unwrap();
        let _ =
            apply_settings(&pair.client, &policy().plan(&deadpeer::platform()).unwrap().settings).unwrap();
        let severed = pair.sever().unwrap();
        (&pair.client).write_all(b"lost").unwrap();
        assert_eq!((&pair.client).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(severed);
        let reset_one = Pair::loopback().unwrap();
        reset(reset_one.server);
        assert_eq!((&reset_one.client).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        for client in [&pair.client, &reset_one.client] {
            for lost in [is_lost(client), is_over(client), lost_within(client, SECOND)] {
                let lost = lost.unwrap().unwrap();
                assert_eq!(
                    (lost.cause, lost.noticed_by, lost.errno),
                    (Loss::Ended, Mechanism::Unknown, None)
                );
                assert!(lost.to_string().contains("its cause is not known any more"), "{lost}");
            }
            assert_eq!(diagnose(client).unwrap().lost.unwrap().cause, Loss::Ended);
            // A write that comes later names no cause either.
            let error = PeerLost::explain(client, { client }.write(b"?").unwrap_err());
            assert_eq!(PeerLost::of(&error).unwrap().cause, Loss::Ended);
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            // A guarded stream whose error somebody else took says no "end of file" of its own.
            let mut guarded = guard(client, &policy()).unwrap();
            let error = guarded.read(&mut [0; 8]).unwrap_err();
            assert_eq!(PeerLost::of(&error).unwrap().cause, Loss::Ended, "{error}");
            assert_eq!(guarded.is_lost().unwrap().cause, Loss::Ended);
        }
        // Both sides have closed, and data waits: what ended it is known when that was read.
        let Pair { client, mut server } = Pair::loopback().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
        server.write_all(b"answer").unwrap();
        drop(server);
        assert_eq!(cause(over_within(&client, SECOND * 5)), Some(Loss::Ended));
        let guarded = guard(client, &policy()).unwrap();
        assert_eq!(guarded.lost_within(SECOND * 5).unwrap().cause, Loss::Ended);
        assert_eq!((&guarded).read(&mut [0; 8]).unwrap(), 6);
        assert_eq!((&guarded).read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(guarded.lost_within(SECOND * 5).unwrap().cause, Loss::Closed);
        // Both sides have closed, in both orders: that is known, and no error was there.
        for client_first in [true, false] {
            let Pair { client, server } = Pair::loopback().unwrap();
            let mut server = Some(server);
            if client_first {
                client.shutdown(Shutdown::Write).unwrap();
            } else {
                drop(server.take());
            }
            thread::sleep(SECOND / 20);
            drop(server.take());
            let _ = client.shutdown(Shutdown::Write);
            for lost in [lost_within(&client, SECOND * 5), over_within(&client, SECOND * 5)] {
                assert_eq!(cause(lost), Some(Loss::Closed), "client first: {client_first}");
            }
        }
    });
}

#[test]
fn a_peer_that_only_finished_sending_still_gets_its_answer() {
    isolated!(|| {
        let Pair { client, server } = Pair::loopback().unwrap();
        (&client).write_all(b"request").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let server = guard(server, &policy()).unwrap();
        assert_eq!(server.lost_within(SECOND * 5).unwrap().cause, Loss::Closed);
        assert_eq!((server.is_over(), server.over_within(SECOND / 5)), (None, None));
        assert_eq!(is_over(server.get_ref()).unwrap(), None);
        // A handler on tokio that is cancelled by `over` is not.
        let answered = on_tokio(server.get_ref(), |stream| async move {
            let guarded = guard(stream, &policy()).unwrap();
            assert_eq!(guarded.lost().await.unwrap().cause, Loss::Closed);
            let mut over = Box::pin(guarded.over());
            let mut looks = 0;
            // As often as a busy program looks: it is woken by nothing.
            std::future::poll_fn(|cx| {
                looks += 1;
                assert!(over.as_mut().poll(cx).is_pending());
                if looks < 100 {
                    cx.waker().wake_by_ref();
                    return std::task::Poll::Pending;
                }
                std::task::Poll::Ready(())
            })
            .await;
            drop(over);
            guarded.get_ref().try_write(b"answer").unwrap()
        });
        assert_eq!(answered, 6);
        let mut answer = [0; 6];
        (&client).read_exact(&mut answer).unwrap();
        // Gone for good: the next bytes are answered with RST, which ends the wait.
        drop(client);
        thread::sleep(SECOND / 10);
        assert_eq!(server.is_over(), None, "nothing was sent that it could answer");
        let _ = (&server).write(b"more");
        assert_eq!(server.over_within(SECOND * 5).unwrap().cause, Loss::Reset);
    });
}

#[test]
fn tokios_over_wakes_on_every_end_after_the_peers_fin() {
    isolated!(|| {
        for how in ["reset", "both closed"] {
            let Pair { client, server } = Pair::loopback().unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            thread::sleep(SECOND / 20);
            let own = server.try_clone().unwrap();
            let killer = thread::spawn(move || {
                thread::sleep(SECOND / 2);
                match how {
                    "reset" => reset(client),
                    _ => own.shutdown(Shutdown::Write).unwrap(),
                }
            });
            let before = processor_time();
            let lost = on_tokio(&server, |stream| async move {
                let guarded = guard(stream, &policy()).unwrap();
                guarded.over().await.unwrap()
            });
            let expected = if how == "reset" { Loss::Reset } else { Loss::Closed };
            assert_eq!(lost.cause, expected, "{how}");
            assert!(processor_time() - before < SECOND / 10, "{how}");
            killer.join().unwrap();
        }
    });
}

#[test]
fn what_this_program_shuts_down_itself_is_not_the_peers_doing() {
    isolated!(|| {
        // Its receiving side: POLLRDHUP, and the peer lives and may even close later.
        let Pair { client, server } = Pair::loopback().unwrap();
        client.shutdown(Shutdown::Read).unwrap();
        let before = processor_time();
        assert_eq!(lost_within(&client, SECOND / 2).unwrap(), None);
        assert_eq!(diagnose(&client).unwrap().lost, None);
        assert!(processor_time() - before < SECOND / 10);
        let guarded = guard(client, &policy()).unwrap();
        assert_eq!((&guarded).read(&mut [0; 8]).unwrap(), 0, "as the kernel says");
        assert_eq!(guarded.is_lost(), None);
        drop(server);
        assert_eq!(guarded.lost_within(SECOND * 5).unwrap().cause, Loss::Closed);
        // Both directions: it ended here.
        let pair = Pair::loopback().unwrap();
        pair.client.shutdown(Shutdown::Both).unwrap();
        for lost in [lost_within(&pair.client, SECOND), over_within(&pair.client, SECOND)] {
            let lost = lost.unwrap().unwrap();
            assert_eq!((lost.cause, lost.noticed_by), (Loss::AbortedHere, Mechanism::Local));
        }
    });
}

#[test]
fn what_routers_say_ends_no_connection_that_goes_on() {
    use deadpeer_lab::{Direction, Network};
    isolated!(|| {
        let network = Network::new().unwrap();
        let pair = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
        set(&pair.client, sockopt::IP_RECVERR, 1);
        let guarded = guard(pair.client.try_clone().unwrap(), &Policy::detect(SECOND * 30).build().unwrap());
        let guarded = guarded.unwrap();
        let cut = network.unreachable(Direction::Both).unwrap();
        (&pair.client).write_all(b"is anybody there?").unwrap();
        // An error at once, since the program asked for that; the connection goes on.
        assert_eq!(guarded.lost_within(SECOND * 2), None);
        assert_eq!(is_over(&pair.client).unwrap(), None);
        cut.heal().unwrap();
        let mut heard = [0; 17];
        (&pair.server).read_exact(&mut heard).unwrap();
        (&pair.server).write_all(b"yes").unwrap();
        let mut buffer = [0; 8];
        loop {
            match (&guarded).read(&mut buffer) {
                Ok(length) => break assert_eq!(length, 3),
                Err(error) => assert!(PeerLost::of(&error).is_none(), "{error}"),
            }
        }
    });
}
