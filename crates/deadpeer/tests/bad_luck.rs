//! Sockets that vanish or change hands while they are looked at.
#![cfg(target_os = "linux")] // the lab's faults
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::host::{
    Census, CensusError, Cookie, Filter, Namespace, Pace, Report, Scan, SockDiag, Taken, Want,
};
use deadpeer::{Known, Verdict, Why};
use deadpeer_lab::{Network, Pair, Place, Unavailable, fill, isolated, skip};
use deadpeer_os::linux::foreign;
use deadpeer_os::linux::lock::Lock;
use socket2::{Domain, Protocol, Socket, Type};

/// The kernel's list, and something that happens before anybody reads it.
struct Then<F>(Mutex<Option<F>>);

impl<F: FnOnce(&mut Taken) + Send> Census for Then<F> {
    fn take(&self, namespace: &Arc<Namespace>, want: Want) -> Result<Taken, CensusError> {
        let mut taken = SockDiag.take(namespace, want)?;
        if let Some(happens) = self.0.lock().unwrap().take() {
            happens(&mut taken);
        }
        Ok(taken)
    }
}

fn scan_after(happens: impl FnOnce(&mut Taken) + Send) -> Report {
    Scan::new().census(Then(Mutex::new(Some(happens)))).probe(Pace::default()).run().unwrap()
}

fn finding(report: &Report, local: SocketAddr) -> (Verdict, Option<Why>, Option<Why>) {
    let findings = report.findings();
    let finding = findings.iter().find(|finding| finding.connection.row.local == local).unwrap();
    let asked = match finding.connection.facts().asked {
        Some(Known::Not(why)) => Some(why),
        _ => None,
    };
    (finding.verdict, asked, finding.connection.protection.user_timeout.why())
}

#[test]
fn a_socket_that_vanishes_after_the_list_was_taken_is_not_called_dead() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let local = pair.client.local_addr().unwrap();
        let report = scan_after(|_| drop(pair));
        let (verdict, asked, read) = finding(&report, local);
        assert!(!matches!(verdict, Verdict::Dead | Verdict::Suspect), "{verdict}");
        assert!(asked.is_some() && read.is_some(), "{asked:?} {read:?}");
    });
}

#[test]
fn a_descriptor_that_means_another_socket_by_now_is_left_alone() {
    isolated!(|| {
        let (pair, other) = (Pair::loopback().unwrap(), Pair::loopback().unwrap());
        let local = pair.client.local_addr().unwrap();
        // The list's socket had another identity than what the descriptor leads to.
        let report = scan_after(move |taken| {
            let row = taken.connections.iter_mut().find(|connection| connection.row.local == local);
            row.unwrap().row.cookie = Cookie(u64::MAX);
        });
        assert_eq!(
            finding(&report, local),
            (Verdict::Alive, Some(Why::DescriptorReused), Some(Why::DescriptorReused))
        );
        let unharmed = finding(&report, other.client.local_addr().unwrap());
        assert_eq!(unharmed, (Verdict::Alive, None, None));
    });
}

#[test]
fn subflows_of_an_mptcp_connection_are_left_alone() {
    isolated!(|| {
        let multipath = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
        let listener = match multipath() {
            Ok(listener) => listener,
            Err(why) => {
                let why = Unavailable { needs: "MPTCP", why };
                return skip("subflows_of_an_mptcp_connection_are_left_alone", &why);
            }
        };
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(1).unwrap();
        let client = multipath().unwrap();
        client.connect(&listener.local_addr().unwrap()).unwrap();
        let _server = listener.accept().unwrap();
        let local = client.local_addr().unwrap().as_socket().unwrap();
        let report = scan_after(|_| ());
        assert_eq!(finding(&report, local), (Verdict::Alive, Some(Why::Multipath), Some(Why::Multipath)));
    });
}

#[test]
fn a_process_that_is_gone_leaves_an_honest_row() {
    assert_eq!(foreign::Process::open(u32::MAX - 1).unwrap_err(), Why::SocketGone);
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let process = foreign::Process::open(child.id()).unwrap();
    child.wait().unwrap();
    assert_eq!(process.with(0, Cookie(1), |_| ()).unwrap_err(), Why::SocketGone);
}

#[test]
fn the_last_close_of_a_lingering_socket_does_not_hold_us_up() {
    isolated!(|| {
        let linger = Duration::from_secs(60);
        let Pair { client, server } = Pair::loopback().unwrap();
        socket2::SockRef::from(&client).set_linger(Some(linger)).unwrap();
        fill(&client).unwrap();
        let (fd, cookie) = (client.as_raw_fd(), socket2::SockRef::from(&client).cookie().unwrap());
        let process = foreign::Process::open(std::process::id()).unwrap();
        let started = Instant::now();
        // The owner closes while we hold a duplicate: on another thread, for its own close may wait.
        let closed = process.with(fd, Cookie(cookie), |_| std::thread::spawn(|| drop(client)).join());
        closed.unwrap().unwrap();
        assert!(started.elapsed() < linger / 2, "our close waited {:?}", started.elapsed());
        drop::<TcpStream>(server); // unread data: a RST, which ends the lingering
    });
}

/// The other run may be in the namespace that is asked from outside.
#[test]
fn two_runs_never_ask_in_the_same_namespace_at_once() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let _resident = network.spawn(Place::Left, Command::new("sleep").arg("60")).unwrap();
        let pair = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
        let port = format!("local::{}", pair.client.local_addr().unwrap().port());
        let lock = network.left(Lock::take).unwrap().expect("nobody else is here");
        let held = Instant::now() + Duration::from_secs(1);
        let holder = thread::spawn(move || {
            thread::sleep(held.saturating_duration_since(Instant::now()));
            drop(lock);
        });
        let scan = Scan::new().all_namespaces(true).filter(Filter::parse([port]).unwrap());
        let report = scan.probe(Pace::default()).run().unwrap();
        assert!(Instant::now() >= held);
        holder.join().unwrap();
        let verdicts: Vec<_> = report.findings().iter().map(|finding| finding.verdict).collect();
        assert_eq!(verdicts, [Verdict::Alive]);
    });
}
