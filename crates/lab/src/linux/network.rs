//! Two hosts and a router between them, each a network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_os::linux::namespace::NetworkNamespace;
use deadpeer_os::linux::rtnetlink::Rtnetlink;

use crate::{Program, Unavailable};

/// Two hosts and a router between them:
///
/// ```text
///   left                          router                         right
///   eth0 ──────────────── to-left        to-right ──────────────── eth0
///   10.99.1.2            10.99.1.1      10.99.2.1      10.99.2.2 … .9
///   fd99:1::2            fd99:1::1      fd99:2::1      fd99:2::2 … ::9
/// ```
///
/// Each is a network namespace of its own, with its own addresses, ports, routes and sysctls (at the
/// kernel's defaults: those of the machine don't reach inside), so any number of networks can exist at once.
/// They are bound to no name and no file: dropping this leaves nothing behind, once the sockets and programs
/// inside are gone.
///
/// Faults: [`cut`](Self::cut), [`cut_off`](Self::cut_off), [`unreachable`](Self::unreachable),
/// [`unplug`](Self::unplug).
#[derive(Debug)]
pub struct Network {
    left: NetworkNamespace,
    router: NetworkNamespace,
    right: NetworkNamespace,
    pub(crate) next_rule: AtomicU32,
}

/// One of the three in a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A host with one address of each family.
    Left,
    /// What forwards between them.
    Router,
    /// A host with several addresses: as many peers behind the router as a test needs.
    Right,
}

impl Network {
    /// The left host's IPv4 address.
    pub const LEFT_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 2);
    /// The left host's IPv6 address.
    pub const LEFT_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 2);
    /// The right host's IPv4 addresses.
    pub const RIGHT_V4: [Ipv4Addr; 8] = {
        let mut all = [Ipv4Addr::UNSPECIFIED; 8];
        let mut i = 0;
        while i < all.len() {
            all[i] = Ipv4Addr::new(10, 99, 2, 2 + i as u8);
            i += 1;
        }
        all
    };
    /// The right host's IPv6 addresses.
    pub const RIGHT_V6: [Ipv6Addr; 8] = {
        let mut all = [Ipv6Addr::UNSPECIFIED; 8];
        let mut i = 0;
        while i < all.len() {
            all[i] = Ipv6Addr::new(0xfd99, 2, 0, 0, 0, 0, 0, 2 + i as u16);
            i += 1;
        }
        all
    };

    pub(crate) const TO_LEFT: &str = "to-left";
    pub(crate) const TO_RIGHT: &str = "to-right";
    const HOST_LINK: &str = "eth0";
    pub(super) const GATEWAY_LEFT: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::new(10, 99, 1, 1)), IpAddr::V6(Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 1))];
    pub(super) const GATEWAY_RIGHT: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::new(10, 99, 2, 1)), IpAddr::V6(Ipv6Addr::new(0xfd99, 2, 0, 0, 0, 0, 0, 1))];

    /// Sets it up; packets flow when it returns, after some milliseconds.
    ///
    /// # Errors
    /// [`Unavailable`] without `CAP_SYS_ADMIN`, which [`isolated!`](crate::isolated!) gives a test, or without
    /// veth links, IPv6 or writable sysctls.
    pub fn new() -> Result<Self, Unavailable> {
        Self::build().map_err(|why| Unavailable {
            needs: "a network of namespaces needs CAP_SYS_ADMIN (root, or an isolated test), veth links, IPv6 \
                    and a writable /proc/sys/net",
            why,
        })
    }

    fn build() -> io::Result<Self> {
        let network = Self {
            left: NetworkNamespace::create()?,
            router: NetworkNamespace::create()?,
            right: NetworkNamespace::create()?,
            next_rule: AtomicU32::new(1000),
        };
        for place in [Place::Left, Place::Router, Place::Right] {
            // For link-local addresses, which are made by the kernel: without one in use, a router asks for no
            // neighbour (ndisc_solicit), and detection of duplicates takes up to two seconds. New links take
            // over the default.
            network.run(place, || set_sysctl("ipv6/conf/default/accept_dad", "0"))?;
        }
        network.router(|| network.lay_router())?;
        let left = [Self::LEFT_V4.into(), Self::LEFT_V6.into()];
        let right = Self::RIGHT_V4.map(IpAddr::from).into_iter().chain(Self::RIGHT_V6.map(IpAddr::from));
        network.left(|| lay_host(left, Self::GATEWAY_LEFT))?;
        network.right(|| lay_host(right, Self::GATEWAY_RIGHT))?;
        network.await_link(Place::Left, Self::TO_LEFT)?;
        network.await_link(Place::Right, Self::TO_RIGHT)?;
        Ok(network)
    }

    fn lay_router(&self) -> io::Result<()> {
        set_sysctl("ipv4/ip_forward", "1")?;
        set_sysctl("ipv6/conf/all/forwarding", "1")?;
        // A link that goes down loses its IPv6 addresses otherwise, and a replugged one would have none.
        set_sysctl("ipv6/conf/all/keep_addr_on_down", "1")?;
        let mut netlink = Rtnetlink::open().map_err(io::Error::other)?;
        let sides = [
            (Self::TO_LEFT, &self.left, Self::GATEWAY_LEFT),
            (Self::TO_RIGHT, &self.right, Self::GATEWAY_RIGHT),
        ];
        for (link, host, addresses) in sides {
            netlink.add_veth(link, Self::HOST_LINK, host.as_fd()).map_err(io::Error::other)?;
            set_up(&mut netlink, link, addresses)?;
        }
        netlink.set_link("lo", true).map_err(io::Error::other)
    }

    /// Waits until packets can flow between the router and `host`: a veth end gets its carrier when the other
    /// comes up, but the kernel puts the link to use a little later (linkwatch), and drops what is sent before.
    pub(crate) fn await_link(&self, host: Place, to_host: &str) -> io::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(5);
        for (place, link) in [(host, Self::HOST_LINK), (Place::Router, to_host)] {
            self.run(place, || {
                let mut netlink = Rtnetlink::open().map_err(io::Error::other)?;
                let start = Instant::now();
                while !netlink.is_running(link).map_err(io::Error::other)? {
                    if start.elapsed() > PATIENCE {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{link} stays down")));
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Runs `job` on a thread inside `place`, and waits for it. The sockets that it makes stay there,
    /// wherever they are used later.
    ///
    /// ```no_run
    /// # use deadpeer_lab::{Network, Place};
    /// # use std::net::TcpListener;
    /// let network = Network::new()?;
    /// let listener = network.run(Place::Right, || TcpListener::bind((Network::RIGHT_V4[0], 0)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Of `job`; of setns(2) and of making a thread.
    ///
    /// # Panics
    /// If `job` does.
    pub fn run<R: Send>(&self, place: Place, job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.namespace(place).run(job)
    }

    /// [`run`](Self::run) in the left host.
    ///
    /// # Errors
    /// As `run`.
    pub fn left<R: Send>(&self, job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.run(Place::Left, job)
    }

    /// [`run`](Self::run) in the router.
    ///
    /// # Errors
    /// As `run`.
    pub fn router<R: Send>(&self, job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.run(Place::Router, job)
    }

    /// [`run`](Self::run) in the right host.
    ///
    /// # Errors
    /// As `run`.
    pub fn right<R: Send>(&self, job: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.run(Place::Right, job)
    }

    /// Starts a program in `place`.
    ///
    /// # Errors
    /// Of [`Command::spawn`], and as [`run`](Self::run).
    pub fn spawn(&self, place: Place, command: &mut Command) -> io::Result<Program> {
        self.run(place, || command.spawn()).map(Program::from)
    }

    /// The namespace that `place` is.
    pub fn namespace(&self, place: Place) -> &NetworkNamespace {
        match place {
            Place::Left => &self.left,
            Place::Router => &self.router,
            Place::Right => &self.right,
        }
    }
}

fn lay_host(addresses: impl IntoIterator<Item = IpAddr>, gateways: [IpAddr; 2]) -> io::Result<()> {
    let mut netlink = Rtnetlink::open().map_err(io::Error::other)?;
    netlink.set_link("lo", true).map_err(io::Error::other)?;
    set_up(&mut netlink, Network::HOST_LINK, addresses)?;
    gateways.into_iter().try_for_each(|gateway| netlink.add_default_route(gateway).map_err(io::Error::other))
}

pub(super) fn set_up(
    netlink: &mut Rtnetlink,
    link: &str,
    addresses: impl IntoIterator<Item = IpAddr>,
) -> io::Result<()> {
    for address in addresses {
        let prefix_length = if address.is_ipv4() { 24 } else { 64 };
        netlink.add_address(link, address, prefix_length).map_err(io::Error::other)?;
    }
    netlink.set_link(link, true).map_err(io::Error::other)
}

/// Sets a sysctl below `net`, in the network namespace of this thread: there is where /proc looks.
fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/sys/net/{name}"), value)
        .map_err(|error| io::Error::new(error.kind(), format!("setting the sysctl net/{name}: {error}")))
}
