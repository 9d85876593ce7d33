//! Two hosts and a path between them whose faults change at run time.

mod impairment;
#[cfg(test)]
mod made;
mod packet;
mod path;
mod queue;
mod reject;
mod router;
mod side;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use deadpeer_core::Random;
use deadpeer_os::linux::namespace::NetworkNamespace;
use rustix::event::{EventfdFlags, eventfd};

use self::path::Path;
use self::queue::Queue;
use self::router::{Router, Shared};
use self::side::lay_host;
use crate::{Direction, Network, Program, Unavailable};

pub use self::impairment::{Chance, Impairment, Rejection};
pub use self::path::Counters;
pub use self::side::Side;

/// Two hosts and a path between them that delays, loses, drops, rejects, reorders and duplicates packets, in each
/// direction as it is told at run time:
///
/// ```text
///   left                    a thread of this process                    right
///   tun0 ─────────────────── delay, loss, a black hole … ─────────────── tun0
///   10.99.1.2                10.99.1.1      10.99.2.1       10.99.2.2 … .9
///   fd99:1::2                fd99:1::1      fd99:2::1       fd99:2::2 … ::9
/// ```
///
/// Each host is a network namespace with a TUN device (tun(4)). The thread takes each packet that leaves by one of
/// the devices, and lets it arrive on the other one. The kernel's TCP, IP and ICMP are real. The link needs no netem, no
/// veth and no nftables, but /dev/net/tun (in a container: `docker run --device /dev/net/tun`).
///
/// A new link is perfect: every packet passes at once. [`set`](Self::set) impairs one direction or both, and
/// [`set_for`](Self::set_for) only the packets to or from one address of the right host, whatever holds for the
/// others. [`heal`](Self::heal) makes the link perfect again. A change is about packets that arrive after it. A packet
/// that is under way arrives when it was due. So on a path that becomes faster new packets overtake older ones.
///
/// ```no_run
/// use deadpeer_lab::{Chance, Direction, ImpairedLink, Impairment, Pair};
/// use std::time::Duration;
///
/// let link = ImpairedLink::new()?;
/// let far = Impairment::new().delay(Duration::from_millis(1100));
/// link.set(Direction::Both, far);
/// let pair = Pair::across(&link, ImpairedLink::RIGHT_V4[0].into())?; // after 2.2 s
/// link.set(Direction::LeftToRight, far.lose(Chance::percent(10)));
/// // … is the connection still taken for a healthy one? …
/// link.set_for(ImpairedLink::RIGHT_V4[0].into(), Direction::Both, Impairment::new().drop_all());
/// // … does its death go unnoticed? …
/// println!("{:?} with seed {}", link.counters(Direction::Both), link.seed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it is not
/// A TUN device has no link layer. There is no ARP, no neighbour and no gateway to ask: each host's default route leads
/// into the device. The device always has a carrier. Where a test is about neighbours, gateways or cables, use a
/// [`Network`]. The path does not decrement the TTL, and nothing answers at 10.99.1.1 and its like: these addresses
/// are only the senders of ICMP errors. The path has no limit to its rate.
///
/// # Chance
/// All random decisions follow from the [`seed`](Self::seed). The nth packet of a direction to or from an address of
/// the right host meets the same decisions for the same seed, whatever other connections do. If a test panics while it
/// has a link, the link prints its seed. The environment variable `DEADPEER_LAB_SEED` sets the seed of
/// [`new`](Self::new).
///
/// # Bounds
/// The path holds up to [`ROOM`](Self::ROOM) bytes of delayed packets. It drops packets that find no room, and counts
/// them as [`overflowed`](Counters::overflowed). The thread carries some tens of thousands of packets a second. If
/// more than 16,384 packets wait for it in one host, the kernel drops the rest, which no counter here shows. Dropping the link ends the thread, and discards the packets that are
/// under way. The devices vanish at once, and the namespaces as soon as no socket and no program is left in them.
#[derive(Debug)]
pub struct ImpairedLink {
    left: NetworkNamespace,
    right: NetworkNamespace,
    shared: Arc<Shared>,
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
    seed: u64,
}

impl Direction {
    /// The sides that packets of this direction come from.
    const fn origins(self) -> &'static [Side] {
        match self {
            Self::Both => &[Side::Left, Side::Right],
            Self::LeftToRight => &[Side::Left],
            Self::RightToLeft => &[Side::Right],
        }
    }
}

impl ImpairedLink {
    /// The left host's IPv4 address.
    pub const LEFT_V4: Ipv4Addr = Network::LEFT_V4;
    /// The left host's IPv6 address.
    pub const LEFT_V6: Ipv6Addr = Network::LEFT_V6;
    /// The right host's IPv4 addresses.
    pub const RIGHT_V4: [Ipv4Addr; 8] = Network::RIGHT_V4;
    /// The right host's IPv6 addresses.
    pub const RIGHT_V6: [Ipv6Addr; 8] = Network::RIGHT_V6;
    /// The MTU of both devices: no packet is longer, its IP header included.
    pub const MTU: usize = 1500;
    /// How many bytes of memory the packets may take that are under way.
    pub const ROOM: usize = 64 << 20;

    const GATEWAY_LEFT: [IpAddr; 2] = Network::GATEWAY_LEFT;
    const GATEWAY_RIGHT: [IpAddr; 2] = Network::GATEWAY_RIGHT;

    /// Sets a link up, with the seed in the environment variable `DEADPEER_LAB_SEED` or else a random one.
    ///
    /// # Errors
    /// [`Unavailable`] without `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, which [`isolated!`](crate::isolated!) gives a test,
    /// where /dev/net/tun does not exist or may not be opened, or without IPv6.
    pub fn new() -> Result<Self, Unavailable> {
        let seed = match std::env::var("DEADPEER_LAB_SEED") {
            Ok(text) => text.parse().map_err(|error| {
                unavailable(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("DEADPEER_LAB_SEED is {text:?}, not a number: {error}"),
                ))
            })?,
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        Self::with_seed(seed)
    }

    /// Sets a link up whose random decisions follow from `seed`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_seed(seed: u64) -> Result<Self, Unavailable> {
        Self::build(seed).map_err(unavailable)
    }

    fn build(seed: u64) -> io::Result<Self> {
        let (left, right) = (NetworkNamespace::create()?, NetworkNamespace::create()?);
        let addresses = [Self::LEFT_V4.into(), Self::LEFT_V6.into()];
        let left_device = left.run(|| lay_host(addresses))?;
        let right_device = right.run(|| lay_host(Self::right_addresses()))?;
        let mut seeds = Random::new(seed);
        let paths = [(); 2].map(|()| Path::new(seeds.next_u64(), Self::right_addresses()));
        let shared = Arc::new(Shared::new(paths));
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let router = Router {
            shared: Arc::clone(&shared),
            devices: [left_device, right_device],
            end: Arc::clone(&end),
            queue: Queue::new(Self::ROOM),
        };
        let thread = thread::Builder::new().name("impaired link".into()).spawn(|| router.run())?;
        Ok(Self { left, right, shared, end, thread: Some(thread), seed })
    }

    fn right_addresses() -> impl Iterator<Item = IpAddr> {
        Self::RIGHT_V4.map(IpAddr::from).into_iter().chain(Self::RIGHT_V6.map(IpAddr::from))
    }

    /// The seed that all random decisions follow from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Impairs all packets of a direction, save those to or from an address that has an impairment of its own. It
    /// replaces what was set before.
    pub fn set(&self, direction: Direction, impairment: Impairment) {
        for &from in direction.origins() {
            self.shared.path(from).set(impairment);
        }
    }

    /// Impairs the packets of a direction that go to, or come from, one address of the right host. The general
    /// impairment is not applied to them: with `Impairment::new()` they pass at once whatever the others meet.
    ///
    /// # Panics
    /// If `peer` is not an address of the right host.
    pub fn set_for(&self, peer: IpAddr, direction: Direction, impairment: Impairment) {
        self.set_lane(peer, direction, Some(impairment));
    }

    /// Lets the general impairment apply to `peer` again.
    ///
    /// # Panics
    /// As [`set_for`](Self::set_for).
    pub fn unset_for(&self, peer: IpAddr, direction: Direction) {
        self.set_lane(peer, direction, None);
    }

    fn set_lane(&self, peer: IpAddr, direction: Direction, impairment: Option<Impairment>) {
        for &from in direction.origins() {
            let mut path = self.shared.path(from);
            let lane = self.lane(&path, peer);
            path.set_lane(lane, impairment);
        }
    }

    fn lane(&self, path: &Path, peer: IpAddr) -> usize {
        assert!(path.knows(peer), "{peer} is not an address of the right host of an impaired link");
        path.lane(peer)
    }

    /// Removes all impairments. Packets that are under way still arrive when they are due.
    pub fn heal(&self) {
        for &from in Direction::Both.origins() {
            self.shared.path(from).heal();
        }
    }

    /// What became of the packets of a direction; of both together for [`Direction::Both`].
    pub fn counters(&self, direction: Direction) -> Counters {
        direction.origins().iter().fold(Counters::default(), |sum, &from| sum + self.shared.path(from).sum())
    }

    /// What became of the packets of a direction to or from one address of the right host.
    ///
    /// # Panics
    /// As [`set_for`](Self::set_for).
    pub fn counters_for(&self, peer: IpAddr, direction: Direction) -> Counters {
        direction.origins().iter().fold(Counters::default(), |sum, &from| {
            let mut path = self.shared.path(from);
            let lane = self.lane(&path, peer);
            sum + *path.counters(lane)
        })
    }

    /// How many packets are under way in both directions: delayed and not yet due.
    pub fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::Relaxed)
    }

    /// Runs `job` on a thread inside a host, and waits for it. The sockets that it makes stay there, wherever they are
    /// used later.
    ///
    /// # Errors
    /// Of `job`; of setns(2) and of making a thread.
    ///
    /// # Panics
    /// If `job` does.
    pub fn run<R: Send>(&self, side: Side, job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.namespace(side).run(job)
    }

    /// [`run`](Self::run) in the left host.
    ///
    /// # Errors
    /// As `run`.
    pub fn left<R: Send>(&self, job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.run(Side::Left, job)
    }

    /// [`run`](Self::run) in the right host.
    ///
    /// # Errors
    /// As `run`.
    pub fn right<R: Send>(&self, job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.run(Side::Right, job)
    }

    /// Starts a program in a host.
    ///
    /// # Errors
    /// Of [`Command::spawn`], and as [`run`](Self::run).
    pub fn spawn(&self, side: Side, command: &mut Command) -> io::Result<Program> {
        self.run(side, || command.spawn()).map(Program::from)
    }

    /// The namespace that a host is.
    pub fn namespace(&self, side: Side) -> &NetworkNamespace {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }
}

impl Drop for ImpairedLink {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the random decisions of the impaired link came from DEADPEER_LAB_SEED={}", self.seed);
        }
        // An eventfd takes this unless its counter is full, which wakes the thread as well.
        let _ = rustix::io::write(&*self.end, &1u64.to_ne_bytes());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("an impaired link had stopped to carry packets: {error}"),
            Some(Err(_)) => eprintln!("an impaired link had stopped to carry packets: its thread panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

fn unavailable(why: io::Error) -> Unavailable {
    Unavailable {
        needs: "an impaired link needs CAP_SYS_ADMIN and CAP_NET_ADMIN (root, or an isolated test), /dev/net/tun, \
                and IPv6",
        why,
    }
}
