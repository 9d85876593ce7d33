//! One run: all faults at the same moment, each met by all methods.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::diagnose;
use deadpeer_lab::{Program, freeze};

use super::cell::{Expected, Outcome, Seen};
use super::end::End;
use super::expect::{SCAN_AFTER, World, expected, expected_when_shut, expected_with};
use super::fault::Fault;
use super::method::Method;
use super::observe::Watch;
use super::scene::{self, Scene};

/// How long a fault that is not to be noticed is watched, any at the most, and a run usually.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) never: Duration,
    pub(super) most: Duration,
    pub(super) usual: Duration,
}

/// How often a stream sends.
const STREAMED: Duration = Duration::from_millis(250);

/// What a run has found so far: also what is left when it is interrupted.
pub(super) type Found = Mutex<Vec<Seen>>;

/// A connection, and the moment of its fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) fault: Fault,
    pub(super) method: Method,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) since: Instant,
}

/// Everything that a run is told.
pub(super) struct Run<'r> {
    pub(super) world: &'r World,
    pub(super) limits: Limits,
    pub(super) seed: u64,
    pub(super) cancel: &'r AtomicBool,
    pub(super) found: &'r Found,
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
                        for method in self.tried(fault) {
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
            for (fault, outcome) in scene::scan(&asked) {
                self.tell(fault, Method::Scan, outcome);
            }
            let (done, wake) = &scanned.done;
            *done.lock().unwrap_or_else(PoisonError::into_inner) = true;
            wake.notify_all();
        });
        scanned.places.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, fault: Fault, method: Method, outcome: Outcome) {
        self.tell_seen(Seen { fault, method, expected: expected(fault, method, self.world), outcome });
    }

    /// The first word on a cell counts.
    fn tell_seen(&self, seen: Seen) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if !found.iter().any(|told| (told.fault, told.method) == (seen.fault, seen.method)) {
            found.push(seen);
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
        let shutting = Instant::now();
        let shut = prepared.and_then(|(scene, ends, processes)| {
            if fault.has_shut_window() {
                shut_all(&ends)?;
            }
            Ok((scene, ends, processes))
        });
        ready.wait();
        let (scene, mut ends, mut processes) = shut?;
        let freshening = Instant::now();
        for end in &ends {
            end.freshen(fault)?;
        }
        let cut = scene.cut(fault)?;
        let (mut frozen, mut guards, mut expectations) = (Vec::new(), Vec::new(), Vec::new());
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
            let expected = match fault.is_in_flight() {
                true => expected_with(fault, end.method, self.world, diagnose(&end.client)?.facts.rto),
                false => expected(fault, end.method, self.world),
            };
            guards.push(scene::suffer(fault, &end.client, end.server.as_ref())?);
            if fault.is_in_flight() {
                end.send(fault)?;
            }
            // What the kernel counts from was a little before the fault.
            expectations.push(if fault.has_shut_window() {
                let (before, facts) = (since - shutting, diagnose(&end.client)?.facts);
                expected_when_shut(fault, end.method, self.world, before, &facts)
            } else {
                expected.sooner_by(since - freshening)
            });
            if scene.is_loopback() {
                scanned.places.lock().unwrap_or_else(PoisonError::into_inner).push(end.place(fault, since));
            }
        }
        thread::scope(|scope| {
            let observing: Vec<_> = ends
                .iter()
                .zip(expectations)
                .map(|(end, expected)| {
                    let scene = &scene;
                    scope.spawn(move || {
                        if let Some(outcome) = self.observe(fault, end, since, expected, scene) {
                            self.tell_seen(Seen { fault, method: end.method, expected, outcome });
                        }
                    })
                })
                .collect();
            if fault == Fault::Outage {
                thread::sleep(self.world.outage.saturating_sub(since.elapsed()));
                guards.clear();
            }
            while fault.streams() && observing.iter().any(|observer| !observer.is_finished()) {
                thread::sleep(STREAMED);
                for end in &ends {
                    let _ = end.send(fault); // who was given up has ended, and its observer says so
                }
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
    ) -> Result<(Scene, Vec<End>, Vec<Option<Program>>), Box<dyn Error + Send + Sync>> {
        let scene = Scene::of(fault, self.world, jitter(self.seed, fault))?;
        let (mut ends, mut processes) = (Vec::new(), Vec::new());
        for method in self.tried(fault) {
            let (end, process) = End::new(fault, method, &scene, self.world)?;
            ends.push(end);
            processes.push(process);
        }
        Ok((scene, ends, processes))
    }

    /// The methods that have something to look at.
    fn tried(&self, fault: Fault) -> impl Iterator<Item = Method> {
        let world = self.world;
        Method::ALL
            .into_iter()
            .filter(move |&method| expected(fault, method, world) != Expected::NotApplicable)
    }

    /// What a method notices; `None` where the one scan of all tells.
    fn observe(
        &self,
        fault: Fault,
        end: &End,
        since: Instant,
        expected: Expected,
        scene: &Scene,
    ) -> Option<Outcome> {
        let limit = match expected {
            Expected::Within { most, .. } => (most + Duration::from_secs(3)).min(self.limits.most),
            _ => self.limits.never,
        };
        let watch = Watch { since, limit, cancel: self.cancel };
        Some(match (end.method, &end.session) {
            (Method::Scan, _) => scene.scan(end.place(fault, since))?,
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
