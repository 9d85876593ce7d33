//! How deaths look to the peer that is left, and when it learns of them: beside core's prediction.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in helpers of tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use deadpeer_core::{Backoff, Bound, Detection, Keepalive, Platform, Set, Settings, detection};
use deadpeer_lab::{Pair, fill, forget, isolated};
use deadpeer_os::linux::{settings, sockopt, stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A tick of the kernel, and our own reading of the clock.
const EARLY: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_millis(500);
const RTO: Duration = Duration::from_millis(204);

/// Keepalive after 1 s, then each second; `probes` of them.
fn protect(sock: &TcpStream, probes: u8) -> Keepalive {
    let second = Duration::from_secs(1);
    let keepalive = Keepalive::new(second, second, probes).unwrap();
    let settings = Settings { keepalive: Set::To(keepalive), ..Settings::default() };
    let applied = settings::apply(sock.as_fd(), &settings).unwrap();
    assert!(applied.gaps.is_empty(), "{:?}", applied.gaps);
    keepalive
}

/// With a user timeout of `timeout` besides.
fn bound(sock: &TcpStream, timeout: Duration) {
    let settings = Settings { user_timeout: Set::To(timeout), ..Settings::default() };
    let applied = settings::apply(sock.as_fd(), &settings).unwrap();
    assert!(applied.gaps.is_empty(), "{:?}", applied.gaps);
}

/// By the one formula, for what the socket really has.
fn predicted(sock: &TcpStream) -> Detection {
    detection(&settings::read(sock.as_fd()).unwrap(), &Platform::linux(), RTO)
}

fn range(bound: Bound) -> (Duration, Duration) {
    let Bound::Within { least, most } = bound else { panic!("{bound:?} is no range") };
    (least, most)
}

/// Measures how late the machine wakes a thread, so that a busy one is not taken for a wrong prediction.
struct Lateness {
    stop: Sender<()>,
    worst: JoinHandle<Duration>,
}

impl Lateness {
    const NAP: Duration = Duration::from_millis(10);

    fn watch() -> Self {
        let (stop, stopped) = channel();
        let worst = thread::spawn(move || {
            let mut worst = Duration::ZERO;
            loop {
                let asleep = Instant::now();
                if stopped.recv_timeout(Self::NAP) != Err(RecvTimeoutError::Timeout) {
                    return worst;
                }
                worst = worst.max(asleep.elapsed().saturating_sub(Self::NAP));
            }
        });
        Self { stop, worst }
    }

    fn worst(self) -> Duration {
        drop(self.stop);
        self.worst.join().unwrap()
    }
}

fn check(seen: Duration, least: Duration, most: Duration, lateness: Lateness) {
    let late = LATE + lateness.worst();
    assert!(seen + EARLY >= least, "{seen:?} is earlier than {least:?}");
    assert!(seen <= most + late, "{seen:?} is later than {most:?} and {late:?}");
}

/// What poll says within `time`; empty for nothing.
fn events(sock: &TcpStream, wanted: PollFlags, time: Timespec) -> PollFlags {
    let mut ready = [PollFd::from_borrowed_fd(sock.as_fd(), wanted)];
    rustix::io::retry_on_intr(|| poll(&mut ready, Some(&time))).unwrap();
    ready[0].revents()
}

#[test]
fn silence_is_noticed_by_keepalive_when_predicted() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let heard = Instant::now();
        protect(&pair.client, 2);
        let (least, most) = range(predicted(&pair.client).idle);
        let lateness = Lateness::watch();
        let _severed = pair.sever().unwrap();
        let error = (&pair.client).read(&mut [0]).unwrap_err();
        check(heard.elapsed(), least, most, lateness);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_forgotten_connection_resets_whoever_sends_and_nobody_else() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        forget(&pair.server).unwrap();
        let moment = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };
        assert!(events(&pair.client, PollFlags::IN, moment).is_empty(), "nothing is sent by itself");
        pair.client.write_all(b"hello").unwrap();
        assert_eq!(pair.client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn the_first_probe_to_a_rebooted_host_is_enough() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        let heard = Instant::now();
        let values = protect(&pair.client, 9);
        let lateness = Lateness::watch();
        forget(&pair.server).unwrap();
        let error = pair.client.read(&mut [0]).unwrap_err();
        let (least, most) = (values.idle(), Platform::linux().latest(values.idle()));
        check(heard.elapsed(), least, most, lateness);
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

/// The puzzle of the 10th to 13th probe: a peer that has closed answers probes as long as its FIN-WAIT-2
/// lasts, here 3 s instead of 60, and the next one is answered by RST.
#[test]
fn a_closed_peer_answers_probes_until_its_fin_wait_2_ends() {
    isolated!(|| {
        const FIN_WAIT_2: i32 = 3;
        let Pair { client, server } = Pair::loopback().unwrap();
        sockopt::set(server.as_fd(), sockopt::TCP_LINGER2, FIN_WAIT_2).unwrap();
        let values = protect(&client, 2);
        let lateness = Lateness::watch();
        let closed = Instant::now();
        drop(server);
        let long = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert!(events(&client, PollFlags::RDHUP, long).contains(PollFlags::RDHUP), "the FIN shows at once");
        // Without asking for readability, poll wakes only at the end.
        assert!(events(&client, PollFlags::empty(), long).contains(PollFlags::HUP));
        let least = Duration::from_secs(FIN_WAIT_2.unsigned_abs().into());
        let platform = Platform::linux();
        let most = platform.latest(least) + platform.latest(values.interval());
        check(closed.elapsed(), least, most, lateness);
    });
}

#[test]
fn keepalive_misses_data_in_flight_and_a_user_timeout_does_not() {
    isolated!(|| {
        let (mut bare, mut bounded) = (Pair::loopback().unwrap(), Pair::loopback().unwrap());
        let kept = protect(&bare.client, 1);
        protect(&bounded.client, 1);
        bound(&bounded.client, Duration::from_secs(3));
        let (least, most) = range(predicted(&bounded.client).in_flight);
        let lateness = Lateness::watch();
        let ends = [bare.client.try_clone().unwrap(), bare.server.try_clone().unwrap()];
        let _bare = deadpeer_lab::sever(&ends[0], &ends[1]).unwrap();
        let ends = [bounded.client.try_clone().unwrap(), bounded.server.try_clone().unwrap()];
        let _bounded = deadpeer_lab::sever(&ends[0], &ends[1]).unwrap();
        bare.client.write_all(b"hello").unwrap();
        bounded.client.write_all(b"hello").unwrap();
        let sent = Instant::now();
        let error = bounded.client.read(&mut [0]).unwrap_err();
        check(sent.elapsed(), least, most, lateness);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // Keepalive alone would have ended an idle connection by now.
        assert!(sent.elapsed() > Platform::linux().latest(kept.idle() + kept.interval()));
        assert!(range(predicted(&bare.client).in_flight).0 > Duration::from_secs(900));
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        assert!(events(&bare.client, PollFlags::IN, now).is_empty(), "retransmissions rule");
    });
}

/// A false alarm: the peer's kernel answers every window probe.
#[test]
fn a_user_timeout_ends_a_connection_whose_peer_lives_and_reads_slowly() {
    isolated!(|| {
        let mut pair = Pair::loopback().unwrap();
        bound(&pair.client, Duration::from_secs(2));
        let (least, most) = range(predicted(&pair.client).shut_window);
        let lateness = Lateness::watch();
        let before = Instant::now();
        fill(&pair.client).unwrap();
        let filled = Instant::now();
        let error = pair.client.read(&mut [0]).unwrap_err();
        // The window shuts somewhere while it is filled.
        assert!(before.elapsed() + EARLY >= least, "{:?}", before.elapsed());
        check(filled.elapsed().max(least), least, most, lateness);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

/// The pauses between window probes grow while they are answered, and count from the last answer.
#[test]
fn a_window_that_was_shut_for_a_while_is_probed_for_longer() {
    const RETRIES: u8 = 3;
    isolated!(|| {
        std::fs::write("/proc/sys/net/ipv4/tcp_retries2", RETRIES.to_string()).unwrap();
        let platform = deadpeer_os::current::platform();
        assert_eq!(platform.retries.value(), Some(RETRIES));
        let protection = settings::read(Pair::loopback().unwrap().client.as_fd()).unwrap();
        let (fresh, longest) = range(detection(&protection, &platform, RTO).shut_window);
        let mut pair = Pair::loopback().unwrap();
        fill(&pair.client).unwrap();
        let facts = || stream::look(pair.client.as_fd()).unwrap().facts;
        while facts().backoff < RETRIES {
            thread::sleep(Duration::from_millis(20));
        }
        let lateness = Lateness::watch();
        let (client, server) = (pair.client.try_clone().unwrap(), pair.server.try_clone().unwrap());
        let _severed = deadpeer_lab::sever(&client, &server).unwrap();
        let (silent, found) = (Instant::now(), facts());
        let backoff = Backoff::new(found.rto, platform.rto_max.value().unwrap());
        let (least, most) = backoff.window_given_up_after(found.backoff, found.probes_out, RETRIES);
        let error = pair.client.read(&mut [0]).unwrap_err();
        let seen = silent.elapsed();
        check(seen, least, platform.latest(most), lateness);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(seen > platform.latest(fresh), "{seen:?} of {fresh:?}");
        assert!(seen <= longest + LATE, "{seen:?} of {longest:?}");
    });
}
