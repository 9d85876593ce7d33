//! Changes to links, addresses, routes and rules: rtnetlink(7).
//!
//! Everything happens in the network namespace of the thread that called [`Rtnetlink::open`], and needs
//! `CAP_NET_ADMIN` there.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::netlink::message::bytes_at;
use super::netlink::{self, Finish, Protocol, Request, Socket};

// linux/veth.h, linux/fib_rules.h: not in libc.
const VETH_INFO_PEER: u16 = 1;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FR_ACT_BLACKHOLE: u8 = 6;
const FR_ACT_UNREACHABLE: u8 = 7;

/// What was asked of the kernel, and its refusal.
#[derive(Debug)]
pub struct Error {
    what: String,
    source: netlink::Error,
}

impl Error {
    /// The error number that the kernel refused with.
    pub fn refusal(&self) -> Option<i32> {
        self.source.refusal()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`
    V4,
    /// `AF_INET6`
    V6,
}

impl Family {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    const fn number(self) -> u8 {
        match self {
            Self::V4 => libc::AF_INET as u8,
            Self::V6 => libc::AF_INET6 as u8,
        }
    }
}

/// A policy rule on packets that arrive on a link (ip-rule(8)). Packets for the machine itself are decided
/// on before, by rule 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its place in the order of rules, smallest first; 32766 is the main routing table. Deleting finds the
    /// rule by all its fields, so a number of its own makes it unmistakable.
    pub priority: u32,
    /// The name of the link that the packets arrive on.
    pub arriving_on: &'static str,
    /// Which packets.
    pub selector: Selector,
    /// What becomes of them.
    pub fate: Fate,
}

/// Which packets a [`Rule`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All of a family.
    All(Family),
    /// Those from one address.
    From(IpAddr),
    /// Those to one address.
    To(IpAddr),
}

/// What a [`Rule`] does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Dropped; nobody is told.
    Blackhole,
    /// Dropped; its sender is told by ICMP that the network is unreachable.
    Unreachable,
}

/// A socket for such changes.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: Socket,
}

impl Rtnetlink {
    /// Opens one in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Of socket(2).
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(Protocol::Route)
            .map_err(|source| Error { what: "opening an rtnetlink socket".into(), source })?;
        Ok(Self { socket })
    }

    /// Adds a veth pair (veth(4)): one end here, the other in `namespace`. Both are down.
    ///
    /// # Errors
    /// As all methods here: the kernel's refusal. `EEXIST`: a name is taken; `EOPNOTSUPP`: no veth in this
    /// kernel.
    pub fn add_veth(&mut self, here: &str, there: &str, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let request = new(libc::RTM_NEWLINK)
            .fixed(&link_header(0, 0))
            .attribute(libc::IFLA_IFNAME, &c_string(here))
            .nested(libc::IFLA_LINKINFO, |info| {
                info.attribute(libc::IFLA_INFO_KIND, b"veth").nested(libc::IFLA_INFO_DATA, |data| {
                    data.nested(VETH_INFO_PEER, |peer| {
                        peer.fixed(&link_header(0, 0))
                            .attribute(libc::IFLA_IFNAME, &c_string(there))
                            .attribute(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes())
                    })
                })
            });
        self.change(request, || format!("adding the veth pair {here}, {there}"))
    }

    /// Sets a link up, or down. A veth end that is down takes the carrier of the other.
    pub fn set_link(&mut self, link: &str, up: bool) -> Result<(), Error> {
        let flags = if up { libc::IFF_UP as u32 } else { 0 };
        let request = Request::new(libc::RTM_NEWLINK, Request::ACK)
            .fixed(&link_header(flags, libc::IFF_UP as u32))
            .attribute(libc::IFLA_IFNAME, &c_string(link));
        self.change(request, || format!("setting link {link} {}", if up { "up" } else { "down" }))
    }

    /// Gives a link an address, usable at once: without duplicate address detection (RFC 4862).
    pub fn add_address(&mut self, link: &str, address: IpAddr, prefix_length: u8) -> Result<(), Error> {
        let what = || format!("adding {address}/{prefix_length} to link {link}");
        let (index, _) = self.find(link).map_err(|source| Error { what: what(), source })?;
        let mut header = vec![Family::of(address).number(), prefix_length, libc::IFA_F_NODAD as u8, 0];
        header.extend(index.to_ne_bytes());
        let request = new(libc::RTM_NEWADDR)
            .fixed(&header)
            .attribute(libc::IFA_LOCAL, &octets(address))
            .attribute(libc::IFA_ADDRESS, &octets(address));
        self.change(request, what)
    }

    /// Adds a route to everywhere, by way of `gateway`.
    pub fn add_default_route(&mut self, gateway: IpAddr) -> Result<(), Error> {
        let mut header = [0; 12]; // struct rtmsg; a destination of 0 bits
        header[0] = Family::of(gateway).number();
        header[4] = libc::RT_TABLE_MAIN;
        header[5] = libc::RTPROT_STATIC;
        header[6] = libc::RT_SCOPE_UNIVERSE;
        header[7] = libc::RTN_UNICAST;
        let request = new(libc::RTM_NEWROUTE).fixed(&header).attribute(libc::RTA_GATEWAY, &octets(gateway));
        self.change(request, || format!("adding a default route by way of {gateway}"))
    }

    /// Adds a route to everywhere that needs no gateway: all packets leave by `link`, as on a device that has only
    /// one other end.
    pub fn add_default_route_over(&mut self, link: &str, family: Family) -> Result<(), Error> {
        let what = || format!("adding a default route over link {link}");
        let (index, _) = self.find(link).map_err(|source| Error { what: what(), source })?;
        let mut header = [0; 12]; // struct rtmsg; a destination of 0 bits
        header[0] = family.number();
        header[4] = libc::RT_TABLE_MAIN;
        header[5] = libc::RTPROT_STATIC;
        header[6] = libc::RT_SCOPE_LINK;
        header[7] = libc::RTN_UNICAST;
        let request = new(libc::RTM_NEWROUTE).fixed(&header).attribute(libc::RTA_OIF, &index.to_ne_bytes());
        self.change(request, what)
    }

    /// Sets how many packets a link holds that wait to leave by it.
    pub fn set_queue_length(&mut self, link: &str, packets: u32) -> Result<(), Error> {
        let request = Request::new(libc::RTM_NEWLINK, Request::ACK)
            .fixed(&link_header(0, 0))
            .attribute(libc::IFLA_IFNAME, &c_string(link))
            .attribute(libc::IFLA_TXQLEN, &packets.to_ne_bytes());
        self.change(request, || format!("setting the queue length of link {link} to {packets}"))
    }

    /// Adds a rule. `EAFNOSUPPORT`, `EOPNOTSUPP`: no policy routing in this kernel.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        self.change(describe(new(libc::RTM_NEWRULE), rule), || format!("adding {rule:?}"))
    }

    /// Deletes a rule. `ENOENT`: there is no such rule.
    pub fn delete_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        let request = Request::new(libc::RTM_DELRULE, Request::ACK);
        self.change(describe(request, rule), || format!("deleting {rule:?}"))
    }

    fn change(&mut self, request: Request, what: impl FnOnce() -> String) -> Result<(), Error> {
        match self.socket.exchange(request, Finish::Acknowledged, |_| Ok(())) {
            Ok(_) => Ok(()),
            Err(source) => Err(Error { what: what(), source }),
        }
    }

    /// Whether a link is up, and so is what it is plugged into (`IFF_LOWER_UP`).
    pub fn has_carrier(&mut self, link: &str) -> Result<bool, Error> {
        const IFF_LOWER_UP: u32 = 1 << 16; // linux/if.h
        self.has_flag(link, IFF_LOWER_UP)
    }

    /// Whether a link has a carrier, and the kernel is done with putting it to use (`IFF_RUNNING`): before
    /// that, it drops what is sent.
    pub fn is_running(&mut self, link: &str) -> Result<bool, Error> {
        self.has_flag(link, libc::IFF_RUNNING as u32)
    }

    fn has_flag(&mut self, link: &str, flag: u32) -> Result<bool, Error> {
        match self.find(link) {
            Ok((_, flags)) => Ok(flags & flag != 0),
            Err(source) => Err(Error { what: format!("asking for the flags of link {link}"), source }),
        }
    }

    /// A link's index and flags.
    fn find(&mut self, link: &str) -> Result<(i32, u32), netlink::Error> {
        let request = Request::new(libc::RTM_GETLINK, 0)
            .fixed(&link_header(0, 0))
            .attribute(libc::IFLA_IFNAME, &c_string(link));
        let mut found = (0, 0);
        self.socket.exchange(request, Finish::First, |message| {
            let index = i32::from_ne_bytes(bytes_at(message.payload, 4, "a link's index")?);
            let flags = u32::from_ne_bytes(bytes_at(message.payload, 8, "a link's flags")?);
            found = (index, flags);
            Ok(())
        })?;
        Ok(found)
    }
}

/// A request that adds something new.
fn new(kind: u16) -> Request {
    Request::new(kind, Request::ACK | Request::CREATE | Request::EXCLUSIVE)
}

/// `struct ifinfomsg` of a link that is found, or made, by its name.
fn link_header(flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

fn describe(request: Request, rule: &Rule) -> Request {
    let (family, from, to) = match rule.selector {
        Selector::All(family) => (family, None, None),
        Selector::From(address) => (Family::of(address), Some(octets(address)), None),
        Selector::To(address) => (Family::of(address), None, Some(octets(address))),
    };
    let mut header = [0; 12]; // struct fib_rule_hdr
    let bits = |address: &Option<Vec<u8>>| address.as_ref().map_or(0, |octets| octets.len() as u8 * 8);
    header[0] = family.number();
    header[1] = bits(&to);
    header[2] = bits(&from);
    header[7] = match rule.fate {
        Fate::Blackhole => FR_ACT_BLACKHOLE,
        Fate::Unreachable => FR_ACT_UNREACHABLE,
    };
    let mut request = request
        .fixed(&header)
        .attribute(FRA_PRIORITY, &rule.priority.to_ne_bytes())
        .attribute(FRA_IIFNAME, &c_string(rule.arriving_on));
    if let Some(to) = to {
        request = request.attribute(FRA_DST, &to);
    }
    if let Some(from) = from {
        request = request.attribute(FRA_SRC, &from);
    }
    request
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn c_string(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
