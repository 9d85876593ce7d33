//! Questions about our own way to a peer: routes, policy rules, links, addresses (rtnetlink(7)). They change
//! nothing, send nothing and need no privilege.

mod link;
mod rules;

use std::net::{IpAddr, SocketAddr};

use super::netlink::message::bytes_at;
use super::netlink::{Attributes, Error, Finish, Malformed, Message, Protocol, Request, Socket};
pub use link::{Address, Link, parse_address, parse_link};
pub use rules::{Selectors, parse_rule};

/// What the kernel chooses a connection's route by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// The interface that the socket is bound to: by SO_BINDTODEVICE, or as the scope of an IPv6 link-local
    /// address. 0 for none.
    pub interface: u32,
    /// The socket's mark (SO_MARK).
    pub mark: u32,
    /// The user who made the socket.
    pub uid: u32,
    /// The type of service or traffic class (IP_TOS, IPV6_TCLASS).
    pub tos: u8,
}

impl Flow {
    /// The same flow without what no rule and no route of this host looks at, so that many connections share
    /// one lookup.
    pub fn reduced_to(mut self, matters: Selectors) -> Self {
        if !matters.mark {
            self.mark = 0;
        }
        if !matters.uid {
            self.uid = 0;
        }
        if !matters.ports {
            self.local.set_port(0);
            self.peer.set_port(0);
        }
        self
    }
}

/// Where packets of a flow go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NextHop {
    /// To this host itself.
    Local,
    /// Out of an interface.
    Out {
        /// The interface's index.
        interface: u32,
        /// The gateway; none when the peer is on the link.
        gateway: Option<IpAddr>,
    },
    /// Nowhere.
    None,
}

/// A netlink socket for these questions, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Routes {
    socket: Socket,
    /// Whether the hash over several equal routes looks at ports.
    hashes_ports: bool,
}

const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MARK: u16 = 16;
const RTA_VIA: u16 = 18;
const RTA_UID: u16 = 25;
const RTA_IP_PROTO: u16 = 27;
const RTA_SPORT: u16 = 28;
const RTA_DPORT: u16 = 29;

impl Routes {
    /// Opens one.
    ///
    /// # Errors
    /// The system call's.
    pub fn open() -> Result<Self, Error> {
        let hashes_ports = rules::hashes_ports();
        Ok(Self { socket: Socket::open(Protocol::Route)?, hashes_ports })
    }

    /// Where the packets of a connection go first. The kernel decides as it does for the connection itself: by
    /// its policy rules, its tables, and its hash over equal routes.
    ///
    /// # Errors
    /// Of the netlink exchange; "no route" is no error.
    pub fn next_hop(&mut self, flow: &Flow) -> Result<NextHop, Error> {
        // The kernel refuses a type of service with ECN bits in it.
        const ECN: u8 = 0b11;
        let peer = flow.peer.ip();
        let mut request = get_route(peer, flow.tos & !ECN)
            .attribute(RTA_SRC, &octets(flow.local.ip()))
            .attribute(RTA_MARK, &flow.mark.to_ne_bytes())
            .attribute(RTA_UID, &flow.uid.to_ne_bytes())
            .attribute(RTA_IP_PROTO, &[libc::IPPROTO_TCP as u8]);
        // The kernel refuses the port 0.
        for (kind, port) in [(RTA_SPORT, flow.local.port()), (RTA_DPORT, flow.peer.port())] {
            if port != 0 {
                request = request.attribute(kind, &port.to_be_bytes());
            }
        }
        self.route(with_interface(request, flow.interface))
    }

    /// Whether `address` is one of this host's own, for packets that arrive. `interface` is the link of a
    /// link-local address, or the device that a socket is bound to; 0 for none.
    ///
    /// # Errors
    /// As [`Routes::next_hop`].
    pub fn is_local(&mut self, address: IpAddr, interface: u32) -> Result<bool, Error> {
        // Bound to a device, a lookup passes over the addresses of other devices, which the host has, too. But a
        // link-local address is that of one link, and only a device leads to the table of its VRF.
        let anywhere = !is_link_local(address) || interface == 0;
        if anywhere && self.route(get_route(address, 0))? == NextHop::Local {
            return Ok(true);
        }
        Ok(interface != 0 && self.route(with_interface(get_route(address, 0), interface))? == NextHop::Local)
    }

    fn route(&mut self, request: Request) -> Result<NextHop, Error> {
        let mut hop = NextHop::None;
        let answer = self.socket.exchange(request, Finish::First, |message| {
            hop = parse_route(message)?;
            Ok(())
        });
        match answer {
            Ok(_) => Ok(hop),
            Err(error) => match error.refusal() {
                // No route, unreachable, prohibited, a black hole; ENODEV: the bound device is gone.
                Some(
                    libc::ENETUNREACH
                    | libc::EHOSTUNREACH
                    | libc::EACCES
                    | libc::EINVAL
                    | libc::ENODEV
                    | libc::ENETDOWN,
                ) => Ok(NextHop::None),
                _ => Err(error),
            },
        }
    }

    /// Whether an administrator has set the link-layer address of the neighbour `address` by hand
    /// (`NUD_PERMANENT`, `NUD_NOARP`, ip-neighbour(8)): such a neighbour may be one that does not answer questions.
    ///
    /// # Errors
    /// Of the netlink exchange; a neighbour that the kernel does not know is none that was set.
    pub fn is_set_by_hand(&mut self, interface: u32, address: IpAddr) -> Result<bool, Error> {
        const NDA_DST: u16 = 1;
        const BY_HAND: u16 = 0x80 | 0x40;
        let mut fixed = [0u8; 12]; // struct ndmsg
        fixed[0] = family(address);
        fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
        let request = Request::new(libc::RTM_GETNEIGH, 0).fixed(&fixed).attribute(NDA_DST, &octets(address));
        let mut state = 0;
        let answer = self.socket.exchange(request, Finish::First, |message| {
            state = u16::from_ne_bytes(bytes_at(message.payload, 8, "struct ndmsg")?);
            Ok(())
        });
        match answer {
            Ok(_) => Ok(state & BY_HAND != 0),
            // ENOENT: never spoken to. EOPNOTSUPP, EINVAL: Linux before 5.0 has no such question.
            Err(error) => match error.refusal() {
                Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL) => Ok(false),
                _ => Err(error),
            },
        }
    }
}

/// A question for the route to `destination`.
fn get_route(destination: IpAddr, tos: u8) -> Request {
    let mut fixed = [0u8; 12]; // struct rtmsg
    fixed[0] = family(destination);
    fixed[1] = if destination.is_ipv4() { 32 } else { 128 };
    fixed[3] = tos;
    Request::new(libc::RTM_GETROUTE, 0).fixed(&fixed).attribute(RTA_DST, &octets(destination))
}

fn with_interface(request: Request, interface: u32) -> Request {
    match interface {
        0 => request,
        interface => request.attribute(RTA_OIF, &interface.to_ne_bytes()),
    }
}

/// `struct rtmsg` and its attributes.
fn parse_route(message: &Message<'_>) -> Result<NextHop, Malformed> {
    const FIXED: usize = 12;
    let [kind] = bytes_at(message.payload, 7, "struct rtmsg")?;
    let attributes = message.payload.get(FIXED..).ok_or(Malformed { offset: FIXED, what: "struct rtmsg" })?;
    match kind {
        libc::RTN_LOCAL | libc::RTN_ANYCAST => return Ok(NextHop::Local),
        libc::RTN_UNICAST => {}
        _ => return Ok(NextHop::None), // unreachable, prohibited, a black hole
    }
    let (mut interface, mut gateway) = (0, None);
    for attribute in Attributes::new(attributes) {
        match attribute? {
            (RTA_OIF, value) => interface = u32::from_ne_bytes(bytes_at(value, 0, "an interface")?),
            (RTA_GATEWAY, value) => gateway = address(value),
            // A family (2 bytes) before the address: an IPv6 gateway of an IPv4 route.
            (RTA_VIA, value) => gateway = value.get(2..).and_then(address),
            _ => {}
        }
    }
    Ok(NextHop::Out { interface, gateway })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        Some(octets.into())
    } else {
        <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

const fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
