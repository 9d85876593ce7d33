//! Questions about our own way to a peer: route, link, neighbour (rtnetlink(7)). They change nothing and
//! need no privilege.

use std::net::IpAddr;

use super::netlink::message::bytes_at;
use super::netlink::{Attributes, Error, Finish, Malformed, Message, Protocol, Request, Socket};

/// Where packets to an address go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NextHop {
    /// To this host itself.
    Local,
    /// Out of an interface.
    Out {
        /// The interface's index.
        interface: u32,
        /// The gateway; none when the address is on the link.
        gateway: Option<IpAddr>,
    },
    /// Nowhere.
    None,
}

/// What the kernel knows of a neighbour on a link (`ip neigh`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// It answered, or need not be asked, or nobody knows of it yet.
    Fine,
    /// It does not answer ARP or neighbour discovery: `FAILED`, or `INCOMPLETE` for now.
    Failed,
}

/// A netlink socket for these questions, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Routes {
    socket: Socket,
}

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const NDA_DST: u16 = 1;

impl Routes {
    /// # Errors
    /// The system call's.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(Protocol::Route)? })
    }

    /// Where packets to `peer` go first.
    ///
    /// # Errors
    /// Of the netlink exchange; "no route" is no error.
    pub fn next_hop(&mut self, peer: IpAddr) -> Result<NextHop, Error> {
        let mut fixed = [0u8; 12]; // struct rtmsg
        fixed[0] = family(peer);
        fixed[1] = if peer.is_ipv4() { 32 } else { 128 };
        let request = Request::new(libc::RTM_GETROUTE, 0).fixed(&fixed).attribute(RTA_DST, &octets(peer));
        let mut hop = NextHop::None;
        let answer = self.socket.exchange(request, Finish::First, |message| {
            hop = parse_route(message)?;
            Ok(())
        });
        match answer {
            Ok(_) => Ok(hop),
            Err(error) => match error.refusal() {
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL) => {
                    Ok(NextHop::None)
                }
                _ => Err(error),
            },
        }
    }

    /// Whether an interface is up and has a carrier (`IFF_UP`, `IFF_LOWER_UP`).
    ///
    /// # Errors
    /// Of the netlink exchange, ENODEV when the interface is gone.
    pub fn link_is_up(&mut self, interface: u32) -> Result<bool, Error> {
        const LOWER_UP: u32 = 0x1_0000;
        let mut fixed = [0u8; 16]; // struct ifinfomsg
        fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
        let mut flags = 0;
        self.socket.exchange(Request::new(libc::RTM_GETLINK, 0).fixed(&fixed), Finish::First, |message| {
            flags = u32::from_ne_bytes(bytes_at(message.payload, 8, "struct ifinfomsg")?);
            Ok(())
        })?;
        Ok(flags & libc::IFF_UP as u32 != 0 && flags & LOWER_UP != 0)
    }

    /// What the kernel knows of the neighbour `address` on `interface`.
    ///
    /// # Errors
    /// Of the netlink exchange; a neighbour that the kernel does not know is [`Neighbour::Fine`].
    pub fn neighbour(&mut self, interface: u32, address: IpAddr) -> Result<Neighbour, Error> {
        const INCOMPLETE: u16 = 0x01;
        const FAILED: u16 = 0x20;
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
            Ok(_) if state & (INCOMPLETE | FAILED) != 0 => Ok(Neighbour::Failed),
            Ok(_) => Ok(Neighbour::Fine),
            // ENOENT: never spoken to. EOPNOTSUPP, EINVAL: Linux before 5.0 has no such question.
            Err(error) => match error.refusal() {
                Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL) => Ok(Neighbour::Fine),
                _ => Err(error),
            },
        }
    }
}

/// `struct rtmsg` and its attributes.
fn parse_route(message: &Message<'_>) -> Result<NextHop, Malformed> {
    const FIXED: usize = 12;
    let [kind] = bytes_at(message.payload, 7, "struct rtmsg")?;
    let attributes = message.payload.get(FIXED..).ok_or(Malformed { offset: FIXED, what: "struct rtmsg" })?;
    match kind {
        libc::RTN_LOCAL => return Ok(NextHop::Local),
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
