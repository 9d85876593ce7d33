//! The two hosts, each with a device.

use std::io;
use std::net::IpAddr;

use deadpeer_os::linux::rtnetlink::{Family, Rtnetlink};
use deadpeer_os::linux::tun::Tun;

const DEVICE: &str = "tun0";

/// One of the two hosts of an [`ImpairedLink`](crate::ImpairedLink).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A host with one address of each family.
    Left,
    /// A host with several addresses: as many peers as a test needs.
    Right,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// Makes the device of the host whose namespace this thread is in.
pub(super) fn lay_host(addresses: impl IntoIterator<Item = IpAddr>) -> io::Result<Tun> {
    /// A burst of as many packets waits for the thread. Beyond that the kernel drops packets.
    const BURST: u32 = 16_384;

    let device = Tun::create(DEVICE)?;
    let mut netlink = Rtnetlink::open().map_err(io::Error::other)?;
    netlink.set_link("lo", true).map_err(io::Error::other)?;
    netlink.set_queue_length(DEVICE, BURST).map_err(io::Error::other)?;
    crate::linux::network::set_up(&mut netlink, DEVICE, addresses)?;
    for family in [Family::V4, Family::V6] {
        netlink.add_default_route_over(DEVICE, family).map_err(io::Error::other)?;
    }
    Ok(device)
}
