//! Links and their addresses: `struct ifinfomsg`, `struct ifaddrmsg`.

use std::net::IpAddr;

use super::super::netlink::message::bytes_at;
use super::super::netlink::{Attributes, Error, Finish, Malformed, Request};
use super::{Routes, address};

/// An interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it is up and has a carrier (`IFF_UP`, `IFF_LOWER_UP`).
    pub is_up: bool,
    /// Whether neighbours on it are found by questions: ARP, neighbour discovery. Not so on loopback, tunnels
    /// and other links with a single other end.
    pub has_neighbours: bool,
    /// Its Ethernet address; none where it is of another kind.
    pub ethernet: Option<[u8; 6]>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's index.
    pub interface: u32,
    /// The address.
    pub ip: IpAddr,
    /// How many bits of it are the network's.
    pub prefix_length: u8,
    /// Whether it can be used: the search for a duplicate has ended and found none (RFC 4862).
    pub is_usable: bool,
}

impl Address {
    /// Whether `other` lies in the network of this address.
    pub fn is_beside(&self, other: IpAddr) -> bool {
        let differ = match (self.ip, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => return false,
        };
        differ >= u32::from(self.prefix_length)
    }
}

impl Routes {
    /// An interface; `None` when there is none with that index (any more).
    ///
    /// # Errors
    /// Of the netlink exchange.
    pub fn link(&mut self, interface: u32) -> Result<Option<Link>, Error> {
        let mut fixed = [0u8; 16]; // struct ifinfomsg
        fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
        let mut link = None;
        let answer = self.socket.exchange(
            Request::new(libc::RTM_GETLINK, 0).fixed(&fixed),
            Finish::First,
            |message| {
                link = Some(parse_link(message.payload)?);
                Ok(())
            },
        );
        match answer {
            Ok(_) => Ok(link),
            // EINVAL: the index 0.
            Err(error) if matches!(error.refusal(), Some(libc::ENODEV | libc::EINVAL)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All addresses of this host, of both families.
    ///
    /// # Errors
    /// Of the netlink exchange.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        let mut all = Vec::new();
        let request = Request::new(libc::RTM_GETADDR, Request::DUMP).fixed(&[0; 8]);
        self.socket.exchange(request, Finish::Done, |message| {
            if message.kind == libc::RTM_NEWADDR {
                all.extend(parse_address(message.payload)?);
            }
            Ok(())
        })?;
        Ok(all)
    }
}

/// `struct ifinfomsg` and its attributes.
///
/// # Errors
/// [`Malformed`] for bytes that are too short, or attributes that don't fit.
pub fn parse_link(payload: &[u8]) -> Result<Link, Malformed> {
    const FIXED: usize = 16;
    const LOWER_UP: u32 = 0x1_0000;
    const WITHOUT_NEIGHBOURS: u32 = (libc::IFF_NOARP | libc::IFF_LOOPBACK | libc::IFF_POINTOPOINT) as u32;
    let what = "struct ifinfomsg";
    let kind = u16::from_ne_bytes(bytes_at(payload, 2, what)?);
    let flags = u32::from_ne_bytes(bytes_at(payload, 8, what)?);
    let attributes = payload.get(FIXED..).ok_or(Malformed { offset: FIXED, what })?;
    let mut ethernet = None;
    for attribute in Attributes::new(attributes) {
        let (name, value) = attribute?;
        if name == libc::IFLA_ADDRESS && kind == libc::ARPHRD_ETHER {
            ethernet = value.try_into().ok();
        }
    }
    Ok(Link {
        is_up: flags & libc::IFF_UP as u32 != 0 && flags & LOWER_UP != 0,
        has_neighbours: flags & WITHOUT_NEIGHBOURS == 0,
        ethernet,
    })
}

/// `struct ifaddrmsg` and its attributes; `None` for an address of another family than IPv4 and IPv6.
///
/// # Errors
/// [`Malformed`] for bytes that are too short, or attributes that don't fit.
pub fn parse_address(payload: &[u8]) -> Result<Option<Address>, Malformed> {
    const FIXED: usize = 8;
    const IFA_FLAGS: u16 = 8;
    const UNUSABLE: u32 = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED;
    let what = "struct ifaddrmsg";
    let [_, prefix_length, flags, _] = bytes_at(payload, 0, what)?;
    let interface = u32::from_ne_bytes(bytes_at(payload, 4, what)?);
    let attributes = payload.get(FIXED..).ok_or(Malformed { offset: FIXED, what })?;
    let (mut local, mut other, mut flags) = (None, None, u32::from(flags));
    for attribute in Attributes::new(attributes) {
        match attribute? {
            (libc::IFA_LOCAL, value) => local = address(value),
            // Ours, unless IFA_LOCAL says that this is the other end of a link.
            (libc::IFA_ADDRESS, value) => other = address(value),
            (IFA_FLAGS, value) => flags = u32::from_ne_bytes(bytes_at(value, 0, "an address's flags")?),
            _ => {}
        }
    }
    let is_usable = flags & UNUSABLE == 0;
    Ok(local.or(other).map(|ip| Address { interface, ip, prefix_length, is_usable }))
}
