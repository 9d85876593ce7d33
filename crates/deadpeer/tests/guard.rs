//! Every way that a peer can go, against guarded streams of std and of tokio.
#![cfg(target_os = "linux")] // the lab's faults
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::{Bound, Detection, Guarded, Loss, Mechanism, PeerLost, Platform, Policy, guard};
use deadpeer_lab::{Direction, Network, Pair, Place, fill, isolated};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

const SECOND: Duration = Duration::from_secs(1);

/// The shortest that whole seconds allow.
fn policy() -> Policy {
    Policy::detect(SECOND * 6).survive(SECOND).build().unwrap()
}

/// Its 6 s hold for an idle connection only, whatever the ceiling.
fn spares_slow_readers() -> Policy {
    let policy = Policy::detect(SECOND * 6).survive(SECOND).slow_readers(true);
    policy.accept_rto_ceiling(true).best_effort(true).build().unwrap()
}

/// One guarded end, blocking or on a runtime.
enum Client {
    Std(Guarded<TcpStream>),
    Tokio(Runtime, Guarded<tokio::net::TcpStream>),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Std,
    Tokio,
}

impl Kind {
    fn guard(self, stream: &TcpStream, policy: &Policy) -> Client {
        let stream = stream.try_clone().unwrap();
        match self {
            Self::Std => Client::Std(guard(stream, policy).unwrap()),
            Self::Tokio => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                stream.set_nonblocking(true).unwrap();
                let stream = runtime.block_on(async { tokio::net::TcpStream::from_std(stream) }).unwrap();
                Client::Tokio(runtime, guard(stream, policy).unwrap())
            }
        }
    }
}

impl Client {
    fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 64];
        match self {
            Self::Std(stream) => stream.read(&mut buffer),
            Self::Tokio(runtime, stream) => runtime.block_on(stream.read(&mut buffer)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Std(stream) => stream.write(bytes),
            Self::Tokio(runtime, stream) => runtime.block_on(stream.write(bytes)),
        }
    }

    /// Without reading.
    fn lost_within(&self, patience: Duration) -> Option<PeerLost> {
        match self {
            Self::Std(stream) => stream.lost_within(patience),
            Self::Tokio(runtime, stream) => {
                runtime.block_on(async { tokio::time::timeout(patience, stream.lost()).await }).ok()?.ok()
            }
        }
    }

    fn is_lost(&self) -> Option<PeerLost> {
        match self {
            Self::Std(stream) => stream.is_lost(),
            Self::Tokio(_, stream) => stream.is_lost(),
        }
    }
}

/// Runs a case for both kinds at once, in a namespace of its own.
macro_rules! for_both {
    ($case:expr) => {
        isolated!(|| {
            thread::scope(|scope| {
                for kind in [Kind::Std, Kind::Tokio] {
                    scope.spawn(move || $case(kind));
                }
            });
        })
    };
}

fn loss(result: io::Result<usize>) -> (ErrorKind, PeerLost) {
    let error = result.unwrap_err();
    (error.kind(), PeerLost::of(&error).unwrap_or_else(|| panic!("unexplained: {error:?}")).clone())
}

/// The silence of a dead host: nothing leaves either end.
fn in_time(since: Instant, bound: impl Fn(&Detection) -> Bound, policy: &Policy) {
    let plan = policy.plan(&Platform::linux()).unwrap();
    let Bound::Within { least, most } = bound(&plan.detection) else { panic!("{plan:?}") };
    let taken = since.elapsed();
    // Early is wrong; late may be a busy machine.
    assert!(
        least <= taken + SECOND / 10 && taken <= most + SECOND * 2,
        "{taken:?} not in {least:?}..{most:?}"
    );
}

#[test]
fn a_close_is_an_end_of_file_and_no_error() {
    for_both!(|kind: Kind| {
        let pair = Pair::loopback().unwrap();
        let mut client = kind.guard(&pair.client, &policy());
        assert_eq!(client.is_lost(), None);
        (&pair.server).write_all(b"bye").unwrap();
        assert_eq!(client.lost_within(SECOND / 10), None, "data is no end");
        drop(pair.server);
        let lost = client.lost_within(SECOND * 10).unwrap();
        assert_eq!((lost.cause, lost.noticed_by, lost.errno), (Loss::Closed, Mechanism::EndOfFile, None));
        assert_eq!(client.read().unwrap(), 3, "unread data comes first");
        assert_eq!((client.read().unwrap(), client.read().unwrap()), (0, 0));
    });
}

#[test]
fn a_reset_is_told_after_the_data_that_came_before_and_ever_again() {
    for_both!(|kind: Kind| {
        let pair = Pair::loopback().unwrap();
        let mut client = kind.guard(&pair.client, &policy());
        (&pair.server).write_all(b"last words").unwrap();
        SockRef::from(&pair.server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(pair.server);
        // Whoever asks first takes the error from the kernel.
        let lost = client.lost_within(SECOND * 10).unwrap();
        assert_eq!((lost.cause, lost.noticed_by), (Loss::Reset, Mechanism::Reset));
        assert_eq!(client.read().unwrap(), 10);
        for _ in 0..2 {
            let (error, told) = loss(client.read());
            assert_eq!((error, &told), (ErrorKind::ConnectionReset, &lost), "not a false end of file");
        }
        assert_eq!(loss(client.write(b"?")), (ErrorKind::BrokenPipe, lost.clone()));
        assert_eq!(client.is_lost(), Some(lost));
    });
}

#[test]
fn a_killed_peer_with_unread_data_resets() {
    for_both!(|kind: Kind| {
        let pair = Pair::loopback().unwrap();
        let mut client = kind.guard(&pair.client, &policy());
        // A process that holds the other end as its stdin and dies without reading it.
        let server = std::os::fd::OwnedFd::from(pair.server.try_clone().unwrap());
        let mut peer = Command::new("sleep").arg("60").stdin(Stdio::from(server)).spawn().unwrap();
        drop(pair.server);
        client.write(b"a request").unwrap();
        peer.kill().unwrap();
        peer.wait().unwrap();
        let (kind, lost) = loss(client.read());
        assert_eq!((kind, lost.cause), (ErrorKind::ConnectionReset, Loss::Reset));
    });
}

#[test]
fn silence_while_idle() {
    for_both!(|kind: Kind| {
        let pair = Pair::loopback().unwrap();
        let mut client = kind.guard(&pair.client, &policy());
        let (since, _severed) = (Instant::now(), pair.sever().unwrap());
        let (error, lost) = loss(client.read());
        in_time(since, |detection| detection.idle, &policy());
        assert_eq!((error, lost.cause), (ErrorKind::TimedOut, Loss::SilentIdle));
        assert_eq!((lost.noticed_by, lost.unacknowledged), (Mechanism::Keepalive, Some(0)));
        assert!(lost.silent.unwrap() >= SECOND * 3, "{lost:?}");
    });
}

#[test]
fn silence_with_data_in_flight() {
    for_both!(|kind: Kind| {
        let pair = Pair::loopback().unwrap();
        let mut client = kind.guard(&pair.client, &policy());
        let _severed = pair.sever().unwrap();
        let since = Instant::now();
        client.write(&[1; 1448]).unwrap();
        let lost = client.lost_within(SECOND * 20).unwrap();
        in_time(since, |detection| detection.in_flight, &policy());
        assert_eq!((lost.cause, lost.noticed_by), (Loss::SilentInFlight, Mechanism::UserTimeout));
        assert_eq!(lost.unacknowledged, Some(1448));
        assert_eq!(loss(client.read()), (ErrorKind::TimedOut, lost));
    });
}

#[test]
fn a_slow_reader_is_given_up_unless_the_policy_spares_it() {
    for_both!(|kind: Kind| {
        let (given_up, spared) = (Pair::loopback().unwrap(), Pair::loopback().unwrap());
        let slow_readers = spares_slow_readers();
        fill(&given_up.client).unwrap();
        fill(&spared.client).unwrap();
        let (mut client, other) =
            (kind.guard(&given_up.client, &policy()), kind.guard(&spared.client, &slow_readers));
        let (error, lost) = loss(client.read());
        assert_eq!((error, lost.cause), (ErrorKind::TimedOut, Loss::WindowShut));
        assert!(lost.unacknowledged.unwrap() > 0);
        assert_eq!(other.lost_within(SECOND * 2), None, "its peer lives and is spared");
    });
}

#[test]
fn a_shut_window_and_then_silence() {
    for_both!(|kind: Kind| {
        let pair = Pair::loopback().unwrap();
        fill(&pair.client).unwrap();
        let client = kind.guard(&pair.client, &policy());
        let _severed = pair.sever().unwrap();
        let lost = client.lost_within(SECOND * 20).unwrap();
        assert_eq!((lost.cause, lost.noticed_by), (Loss::SilentInFlight, Mechanism::UserTimeout));
    });
}

#[test]
fn a_spared_slow_reader_that_dies_is_found_out_by_window_probes() {
    if !std::path::Path::new("/proc/sys/net/ipv4/tcp_rto_max_ms").exists() {
        eprintln!("skipped: this kernel has no TCP_RTO_MAX_MS (Linux 6.15)");
        return;
    }
    for_both!(|kind: Kind| {
        // With its 15 it would take 18 s at the most.
        std::fs::write("/proc/sys/net/ipv4/tcp_retries2", "4").unwrap();
        let pair = Pair::loopback().unwrap();
        let slow_readers = spares_slow_readers();
        let client = kind.guard(&pair.client, &slow_readers);
        fill(&pair.client).unwrap();
        // The probes are a second apart by now, and answered.
        assert_eq!(client.lost_within(SECOND * 3), None);
        let _severed = pair.sever().unwrap();
        let lost = client.lost_within(SECOND * 10).unwrap();
        assert_eq!((lost.cause, lost.noticed_by), (Loss::SilentInFlight, Mechanism::Retransmissions));
    });
}

#[test]
fn a_short_outage_and_a_frozen_peer_are_survived() {
    for_both!(|kind: Kind| {
        let (idle, busy) = (Pair::loopback().unwrap(), Pair::loopback().unwrap());
        let (mut resting, mut sending) =
            (kind.guard(&idle.client, &policy()), kind.guard(&busy.client, &policy()));
        let severed = (idle.sever().unwrap(), busy.sever().unwrap());
        sending.write(b"in flight").unwrap();
        thread::sleep(SECOND);
        drop(severed);
        // Longer than any death takes. The peers' programs do nothing, as if they were frozen: their kernels
        // answer, and only a heartbeat would tell.
        thread::sleep(SECOND * 7);
        assert_eq!((resting.is_lost(), sending.is_lost()), (None, None));
        for (client, pair) in [(&mut resting, &idle), (&mut sending, &busy)] {
            (&pair.server).write_all(b"still here").unwrap();
            assert_eq!(client.read().unwrap(), 10);
        }
    });
}

#[test]
fn an_unreachable_peer_is_told_by_the_network() {
    for_both!(|kind: Kind| {
        let network = Network::new().unwrap();
        let pair = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
        let mut client = kind.guard(&pair.client, &policy());
        let _cut = network.unreachable(Direction::Both).unwrap();
        client.write(b"is anybody there?").unwrap();
        let (error, lost) = loss(client.read());
        assert_eq!((lost.cause, lost.noticed_by), (Loss::Unreachable, Mechanism::Icmp), "{lost}");
        assert!(matches!(error, ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable), "{error}");
        assert_eq!(lost.unacknowledged, Some(17));
    });
}

#[test]
fn a_rebooted_peer_answers_the_next_probe_with_a_reset() {
    for_both!(|kind: Kind| {
        let network = Network::new().unwrap();
        let Pair { client, server } = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
        let mut client = kind.guard(&client, &policy());
        let cut = network.cut(Direction::Both).unwrap();
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        cut.heal().unwrap();
        assert_eq!(loss(client.read()).1.cause, Loss::Reset);
    });
}

#[test]
fn an_administrator_ends_the_connection() {
    for_both!(|kind: Kind| {
        let network = Network::new().unwrap();
        let pair = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
        let mut client = kind.guard(&pair.client, &policy());
        let mut destroy = Command::new("ss");
        destroy.args(["-K", "state", "established"]).stdout(Stdio::null());
        assert!(network.spawn(Place::Left, &mut destroy).unwrap().wait().unwrap().success());
        let (error, lost) = loss(client.read());
        assert_eq!((error, lost.cause), (ErrorKind::ConnectionAborted, Loss::AbortedHere));
    });
}

#[test]
fn what_does_not_end_a_connection_is_not_explained() {
    for_both!(|kind: Kind| {
        let pair = Pair::loopback().unwrap();
        let mut client = kind.guard(&pair.client, &policy());
        pair.client.shutdown(Shutdown::Write).unwrap();
        let error = client.write(b"after our own shutdown").unwrap_err();
        assert!(error.kind() == ErrorKind::BrokenPipe && PeerLost::of(&error).is_none(), "{error:?}");
        if let Client::Std(client) = &mut client {
            client.get_ref().set_nonblocking(true).unwrap();
            let error = client.read(&mut [0; 8]).unwrap_err();
            assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::WouldBlock, Some(11)));
        }
        assert_eq!(client.is_lost(), None);
    });
}

#[test]
fn accepted_streams_inherit_and_that_is_verified() {
    isolated!(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(deadpeer::apply(&listener, &policy()).unwrap().gaps.is_empty());
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let inherited = deadpeer::protection(&accepted).unwrap();
        let guarded = guard(accepted, &policy()).unwrap();
        assert_eq!(guarded.protection(), inherited);
        assert!(guarded.gaps().is_empty() && inherited.active_keepalive().is_some());
    });
}

#[test]
fn a_diagnosis_says_what_each_method_can_prove() {
    isolated!(|| {
        use deadpeer::{Peek, TcpState, Verdict, diagnose};
        // At rest, with data, after FIN.
        let pair = Pair::loopback().unwrap();
        let rest = diagnose(&pair.client).unwrap();
        assert_eq!(
            (rest.facts.state, rest.peek, rest.pending_error),
            (TcpState::Established, Peek::Nothing, None)
        );
        (&pair.server).write_all(b"x").unwrap();
        let data = diagnose(&pair.client).unwrap();
        assert!(data.readiness.readable && !data.readiness.is_end() && data.facts.unread == 1);
        assert_eq!(data.peek, Peek::Data);
        pair.server.shutdown(Shutdown::Both).unwrap();
        let closed = diagnose(&pair.client).unwrap();
        assert!(closed.readiness.peer_closed && !closed.readiness.error);
        // Closed a moment ago: the program here has had no time to do the same.
        assert_eq!(closed.judgement.verdict(), Verdict::Alive);
        assert_eq!(closed.lost.unwrap().cause, Loss::Closed);
        assert_eq!((&pair.client).read(&mut [0; 8]).unwrap(), 1);
        assert_eq!(diagnose(&pair.client).unwrap().peek, Peek::EndOfFile);

        // The pending error is taken and told.
        let reset = Pair::loopback().unwrap();
        SockRef::from(&reset.server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(reset.server);
        let ended = diagnose(&reset.client).unwrap();
        assert_eq!((ended.pending_error, ended.peek), (Some(libc::ECONNRESET), Peek::EndOfFile));
        assert_eq!((&reset.client).read(&mut [0; 8]).unwrap(), 0, "this is the trap");

        // Silence that the timers have not ended yet.
        let silent = Pair::loopback().unwrap();
        let _severed = silent.sever().unwrap();
        (&silent.client).write_all(b"lost").unwrap();
        thread::sleep(SECOND);
        let suspect = diagnose(&silent.client).unwrap();
        assert!(suspect.facts.retransmits > 0 && suspect.lost.is_none());
        assert!(suspect.judgement.verdict() >= Verdict::Suspect, "{:?}", suspect.judgement);
    });
}
