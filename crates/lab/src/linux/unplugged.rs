//! A cable that is pulled.

use std::io;
use std::mem::ManuallyDrop;

use deadpeer_os::linux::rtnetlink::Rtnetlink;

use crate::{Network, Place};

impl Network {
    /// Pulls the cable between the router and `place`, which then loses its carrier.
    ///
    /// For `place` this is a *local* fault: its kernel knows, and calls fail early with "no route to host".
    /// The router then has no route to `place`, and tells the other host so by ICMP.
    ///
    /// # Errors
    /// `InvalidInput` for [`Place::Router`], which has two cables; else the kernel's refusal.
    pub fn unplug(&self, place: Place) -> io::Result<Unplugged<'_>> {
        let link = match place {
            Place::Left => Self::TO_LEFT,
            Place::Right => Self::TO_RIGHT,
            Place::Router => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "unplug a host: the router has two cables",
                ));
            }
        };
        set_link(self, link, false)?;
        Ok(Unplugged { network: self, place, link })
    }
}

/// A cable that is pulled until this is dropped; made by [`Network::unplug`].
#[derive(Debug)]
#[must_use = "dropping it plugs the cable in again"]
pub struct Unplugged<'n> {
    network: &'n Network,
    place: Place,
    link: &'static str,
}

impl Unplugged<'_> {
    /// Plugs the cable in again, as dropping does; returns once packets flow, and says whether that went well.
    ///
    /// # Errors
    /// The kernel's refusal; `TimedOut` if the link stays down.
    pub fn replug(self) -> io::Result<()> {
        ManuallyDrop::new(self).plug_in()
    }

    fn plug_in(&self) -> io::Result<()> {
        set_link(self.network, self.link, true)?;
        self.network.await_link(self.place, self.link)
    }
}

impl Drop for Unplugged<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.plug_in() {
            eprintln!("{} could not be plugged in again: {error}", self.link);
        }
    }
}

fn set_link(network: &Network, link: &str, up: bool) -> io::Result<()> {
    network.router(|| {
        let mut netlink = Rtnetlink::open().map_err(io::Error::other)?;
        netlink.set_link(link, up).map_err(io::Error::other)
    })
}
