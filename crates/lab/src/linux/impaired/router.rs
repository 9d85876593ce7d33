//! The thread that carries the packets from one device to the other.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use deadpeer_os::linux::tun::Tun;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::packet::Packet;
use super::path::{Decision, Path};
use super::queue::Queue;
use super::reject::refuse;
use super::{ImpairedLink, Side};

/// What the thread and the link's owner both see.
#[derive(Debug)]
pub(super) struct Shared {
    /// By the side that the packets come from.
    paths: [Mutex<Path>; 2],
    pub(super) under_way: AtomicUsize,
}

impl Shared {
    pub(super) fn new(paths: [Path; 2]) -> Self {
        Self { paths: paths.map(Mutex::new), under_way: AtomicUsize::new(0) }
    }

    /// The path of packets that come from this side.
    pub(super) fn path(&self, from: Side) -> MutexGuard<'_, Path> {
        self.paths[from as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Router {
    pub(super) shared: Arc<Shared>,
    /// The devices of both sides, left and right.
    pub(super) devices: [Tun; 2],
    /// Readable when the thread is to end.
    pub(super) end: Arc<OwnedFd>,
    pub(super) queue: Queue,
}

impl Router {
    /// Carries packets until it is told to end, or a device is gone.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0; LONGEST];
        loop {
            let now = self.deliver_due();
            let ready = self.wait(now)?;
            if ready.end {
                return Ok(());
            }
            for from in [Side::Left, Side::Right] {
                if ready.devices[from as usize] {
                    self.receive(from, &mut buffer)?;
                }
            }
        }
    }

    /// Waits for a packet, for the time when the next one is due, or for the end.
    fn wait(&self, now: Instant) -> io::Result<Ready> {
        let wait = self.queue.next_due().map(|due| due.saturating_duration_since(now));
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut fds = [
            PollFd::new(&self.devices[0], PollFlags::IN),
            PollFd::new(&self.devices[1], PollFlags::IN),
            PollFd::new(&*self.end, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno.into()),
        }
        let [left, right, end] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Ready { devices: [left, right], end })
    }

    /// Takes packets from a device, but not so many that others would wait for long.
    fn receive(&mut self, from: Side, buffer: &mut [u8]) -> io::Result<()> {
        const AT_ONCE: usize = 64;
        // Whatever was due by this time has been delivered: no packet below overtakes one of its own lane.
        let now = self.deliver_due();
        for _ in 0..AT_ONCE {
            match self.devices[from as usize].receive(buffer) {
                Ok(length) => self.carry(from, &buffer[..length], now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn carry(&mut self, from: Side, bytes: &[u8], now: Instant) {
        // What is for the link alone ends here: neighbour discovery, multicast reports.
        let Some(packet) = Packet::parse(bytes).filter(Packet::is_routable) else { return };
        let peer = match from {
            Side::Left => packet.destination(),
            Side::Right => packet.source(),
        };
        let (lane, decision) = {
            let mut path = self.shared.path(from);
            let lane = path.lane(peer);
            (lane, path.decide(lane, bytes.len(), now))
        };
        match decision {
            Decision::Drop => {}
            Decision::Reject(rejection, due) => {
                let answer = refuse(&packet, rejection, gateways(from));
                let shared = Arc::clone(&self.shared);
                // Held while the packet is delivered: who has seen its effect sees it counted, and the other way round.
                let mut path = shared.path(from);
                let told = answer.is_some_and(|answer| self.send(from, None, &answer, due, now));
                let counters = path.counters(lane);
                *(if told { &mut counters.rejected } else { &mut counters.dropped }) += 1;
            }
            Decision::Pass { due, twice } => {
                for _ in 0..1 + u8::from(twice) {
                    if !self.send(from.other(), Some(lane), bytes, due, now) {
                        self.shared.path(from).counters(lane).overflowed += 1;
                    }
                }
            }
        }
    }

    /// Delivers a packet now, or when it is due; `false` if there is no room to keep it until then.
    fn send(&mut self, to: Side, lane: Option<usize>, bytes: &[u8], due: Instant, now: Instant) -> bool {
        if due <= now {
            self.deliver(to, lane, bytes);
            return true;
        }
        let kept = self.queue.push(due, to, lane, bytes);
        self.shared.under_way.store(self.queue.len(), Ordering::Relaxed);
        kept
    }

    /// Delivers what is due, and returns the time by which it was.
    fn deliver_due(&mut self) -> Instant {
        let now = Instant::now();
        while let Some(waiting) = self.queue.pop(now) {
            self.shared.under_way.store(self.queue.len(), Ordering::Relaxed);
            self.deliver(waiting.to, waiting.lane, &waiting.bytes);
        }
        now
    }

    fn deliver(&self, to: Side, lane: Option<usize>, bytes: &[u8]) {
        let device = &self.devices[to as usize];
        let Some(lane) = lane else {
            let _ = device.send(bytes); // as below
            return;
        };
        // Held as above.
        let mut path = self.shared.path(to.other());
        // A device that is down takes nothing, like an unplugged cable.
        let arrived = device.send(bytes).is_ok();
        let counters = path.counters(lane);
        *(if arrived { &mut counters.passed } else { &mut counters.dropped }) += 1;
    }
}

/// The router's addresses on this side.
fn gateways(side: Side) -> [IpAddr; 2] {
    match side {
        Side::Left => ImpairedLink::GATEWAY_LEFT,
        Side::Right => ImpairedLink::GATEWAY_RIGHT,
    }
}

/// No IP packet is longer.
const LONGEST: usize = 65_575;

#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    devices: [bool; 2],
    end: bool,
}
