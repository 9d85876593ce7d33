//! One run: all faults at the same moment, each met by all methods.

use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::Verdict;
use deadpeer::host::{Filter, Pace, Scan};
use deadpeer_lab::{Direction, Network, Program, freeze};

use super::cell::{Expected, Outcome};
use super::end::End;
use super::expect::{SCAN_AFTER, World, expected};
use super::fault::Fault;
use super::method::Method;
use super::observe::Watch;

/// How long a fault that is not to be noticed is watched, and any at the most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) never: Duration,
    pub(super) most: Duration,
}

/// What a run has found so far: also what is left when it is interrupted.
pub(super) type Found = Mutex<Vec<(Fault, Method, Outcome)>>;

/// Our end of a connection on loopback, and the moment of its fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) fault: Fault,
    pub(super) method: Method,
    pub(super) local: SocketAddr,
    pub(super) since: Instant,
}

/// Everything that a run is told.
pub(super) struct Run<'r> {
    pub(super) world: World,
    pub(super) limits: Limits,
    pub(super) seed: u64,
    pub(super) cancel: &'r AtomicBool,
    pub(super) found: &'r Found,
}

/// Sets this thread's network namespace so that waits end within a run.
///
/// # Errors
/// Without the right to write its sysctls.
pub(super) fn shorten(retries: u8, fin_timeout: Duration) -> io::Result<()> {
    fs::write("/proc/sys/net/ipv4/tcp_retries2", retries.to_string())?;
    fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", fin_timeout.as_secs().to_string())
}

/// What the one scan of all faults has to do with each.
#[derive(Default)]
struct Scanned {
    /// Our ends on loopback, among them those that it is to judge.
    places: Mutex<Vec<Place>>,
    /// Whether it is over.
    done: (Mutex<bool>, Condvar),
}

impl Run<'_> {
    /// Runs all faults side by side; tells where our ends on loopback were.
    pub(super) fn run(&self) -> Vec<Place> {
        let ready = Barrier::new(Fault::ALL.len() + 1);
        let scanned = Scanned::default();
        thread::scope(|scope| {
            for fault in Fault::ALL {
                let (ready, scanned) = (&ready, &scanned);
                scope.spawn(move || {
                    if let Err(error) = self.fault(fault, ready, scanned) {
                        for method in Method::ALL {
                            self.tell(fault, method, Outcome::LeftOut { why: error.to_string() });
                        }
                    }
                });
            }
            ready.wait(); // all are connected
            ready.wait(); // windows are shut
            thread::sleep(SCAN_AFTER);
            let places = scanned.places.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let asked: Vec<_> = places.into_iter().filter(|place| place.method == Method::Scan).collect();
            for (fault, outcome) in scan(&asked) {
                self.tell(fault, Method::Scan, outcome);
            }
            let (done, wake) = &scanned.done;
            *done.lock().unwrap_or_else(PoisonError::into_inner) = true;
            wake.notify_all();
        });
        scanned.places.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first word on a cell counts.
    fn tell(&self, fault: Fault, method: Method, outcome: Outcome) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if !found.iter().any(|(f, m, _)| (*f, *m) == (fault, method)) {
            found.push((fault, method, outcome));
        }
    }

    /// One fault, met by all methods. The barrier is passed on every way.
    fn fault(
        &self,
        fault: Fault,
        ready: &Barrier,
        scanned: &Scanned,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        // When connections are made, against the moment of the fault, is what the seed decides.
        thread::sleep(Duration::from_millis(jitter(self.seed, fault) % 500));
        let prepared = self.prepare(fault);
        ready.wait();
        let shut = prepared.and_then(|(network, ends, processes)| {
            if fault.has_shut_window() {
                shut_all(&ends)?;
            }
            Ok((network, ends, processes))
        });
        ready.wait();
        let (network, mut ends, mut processes) = shut?;
        for end in &ends {
            end.freshen(fault)?;
        }
        let cut = match (&network, fault) {
            (Some(network), Fault::Unreachable) => Some(network.unreachable(Direction::Both)?),
            (Some(network), _) => Some(network.cut(Direction::Both)?),
            (None, _) => None,
        };
        let mut frozen = Vec::new();
        let mut guards = Vec::new();
        let since = Instant::now();
        for (end, process) in ends.iter_mut().zip(&mut processes) {
            end.leave(fault, process.as_mut())?;
        }
        if fault == Fault::Frozen {
            for process in processes.iter_mut().flatten() {
                frozen.push(freeze(process)?);
            }
        }
        for end in &ends {
            guards.push(end.suffer(fault)?);
            if fault.is_in_flight() {
                end.send()?;
            }
            if network.is_none() {
                let place = Place { fault, method: end.method, local: end.client.local_addr()?, since };
                scanned.places.lock().unwrap_or_else(PoisonError::into_inner).push(place);
            }
        }
        thread::scope(|scope| {
            for end in &ends {
                let network = network.as_ref();
                scope.spawn(move || {
                    if let Some(outcome) = self.observe(fault, end, since, network) {
                        self.tell(fault, end.method, outcome);
                    }
                });
            }
            if fault == Fault::Outage {
                thread::sleep(self.world.outage.saturating_sub(since.elapsed()));
                guards.clear();
            }
        });
        // What every method has noticed already is still to be scanned.
        let (done, wake) = &scanned.done;
        let done = done.lock().unwrap_or_else(PoisonError::into_inner);
        drop(wake.wait_while(done, |done| !*done));
        drop((cut, frozen, guards));
        Ok(())
    }

    #[allow(clippy::type_complexity)]
    fn prepare(
        &self,
        fault: Fault,
    ) -> Result<(Option<Network>, Vec<End>, Vec<Option<Program>>), Box<dyn Error + Send + Sync>> {
        let network = match fault.needs_router() {
            true => Some(Network::new()?),
            false => None,
        };
        if let Some(network) = &network {
            network.left(|| shorten(self.world.platform.retries, self.world.fin_timeout))?;
        }
        let (mut ends, mut processes) = (Vec::new(), Vec::new());
        for method in Method::ALL {
            if expected(fault, method, &self.world) != Expected::NotApplicable {
                let (end, process) = End::new(fault, method, network.as_ref())?;
                ends.push(end);
                processes.push(process);
            }
        }
        Ok((network, ends, processes))
    }

    /// What a method notices; `None` where the one scan of all tells.
    fn observe(&self, fault: Fault, end: &End, since: Instant, network: Option<&Network>) -> Option<Outcome> {
        let limit = match expected(fault, end.method, &self.world) {
            Expected::Within { most, .. } => (most + Duration::from_secs(3)).min(self.limits.most),
            _ => self.limits.never,
        };
        let watch = Watch { since, limit, cancel: self.cancel };
        Some(match (end.method, &end.session) {
            (Method::Scan, _) => {
                let network = network?;
                thread::sleep(SCAN_AFTER.saturating_sub(since.elapsed()));
                let one = Place { fault, method: end.method, local: end.client.local_addr().ok()?, since };
                network.left(|| Ok(scan(&[one]).pop())).ok().flatten().map_or_else(
                    || Outcome::LeftOut { why: "the scan found no such connection".to_owned() },
                    |(_, outcome)| outcome,
                )
            }
            (_, Some(session)) => watch.session(session),
            (Method::Poll, _) => watch.poll(&end.client),
            (Method::State, _) => watch.state(&end.client),
            _ if fault == Fault::ClosedUnread => watch.error(&end.client),
            _ => watch.read(&end.client),
        })
    }
}

/// Shuts the windows of all at once: settings count from that moment on.
fn shut_all(ends: &[End]) -> io::Result<()> {
    thread::scope(|scope| {
        let shutting: Vec<_> = ends.iter().map(|end| scope.spawn(|| end.shut())).collect();
        shutting.into_iter().try_for_each(|shut| shut.join().unwrap_or(Ok(())))
    })
}

/// Asks the peers of these connections, all in one scan, and tells what it noticed.
fn scan(ends: &[Place]) -> Vec<(Fault, Outcome)> {
    let left_out = |why: &dyn std::fmt::Display| {
        let why = why.to_string();
        ends.iter().map(|end| (end.fault, Outcome::LeftOut { why: why.clone() })).collect()
    };
    let ports = ends.iter().map(|end| format!("local::{}", end.local.port()));
    let filter = match Filter::parse(ports) {
        Ok(filter) => filter,
        Err(error) => return left_out(&error),
    };
    let report = match Scan::new().filter(filter).probe(Pace::default()).run() {
        Ok(report) => report,
        Err(error) => return left_out(&error),
    };
    let findings = report.findings();
    ends.iter()
        .map(|end| {
            let after = end.since.elapsed();
            let finding = findings.iter().find(|finding| finding.connection.row.local == end.local);
            let outcome = match finding {
                None => Outcome::LeftOut { why: "the scan found no such connection".to_owned() },
                Some(finding) if matches!(finding.verdict, Verdict::Dead | Verdict::Leaked) => {
                    Outcome::Noticed { after, how: finding.verdict.to_string() }
                }
                Some(_) => Outcome::Not { watched: after },
            };
            (end.fault, outcome)
        })
        .collect()
}

/// Another number for each fault and seed.
fn jitter(seed: u64, fault: Fault) -> u64 {
    let mixed = (seed ^ (fault as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Measures how late sleeping threads are woken, until told to stop.
pub(super) fn lateness(stop: &AtomicBool) -> Duration {
    const NAP: Duration = Duration::from_millis(20);
    let mut worst = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let before = Instant::now();
        thread::sleep(NAP);
        worst = worst.max(before.elapsed().saturating_sub(NAP));
    }
    worst
}
