//! Looking at one namespace: which way each connection goes.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use deadpeer_core::{Hop, Why};
use deadpeer_os::linux::diag::Routing;
use deadpeer_os::linux::netlink;
use deadpeer_os::linux::route::{Address, Flow, Link, NextHop, Routes, Selectors};

/// Where a connection leaves this host. Connections with the same exit share their first hop; on a link without
/// a gateway they share the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exit {
    pub(super) interface: u32,
    pub(super) gateway: Option<IpAddr>,
}

/// A connection's own way, as far as this host knows it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Nothing more is to be found out.
    Decided(Hop),
    /// Out of a link that is up.
    Out { exit: Exit, link: Link },
}

impl Way {
    /// The interface and the address of the first hop, where it is one that can be asked.
    pub(super) fn first_hop(&self, peer: IpAddr) -> Option<(u32, IpAddr)> {
        match *self {
            Self::Out { exit, link } if link.has_neighbours => {
                Some((exit.interface, exit.gateway.unwrap_or(peer)))
            }
            _ => None,
        }
    }
}

/// One namespace, looked at. Each question to the kernel is put once.
pub(super) struct Look {
    pub(super) routes: Routes,
    /// What chooses routes here.
    matters: Selectors,
    ways: BTreeMap<Flow, Result<Way, Why>>,
    links: BTreeMap<u32, Option<Link>>,
    own: BTreeMap<(IpAddr, u32), bool>,
}

impl Look {
    /// The namespace of this thread.
    pub(super) fn here() -> io::Result<Self> {
        let mut routes = Routes::open().map_err(io::Error::other)?;
        let matters = routes.selectors().unwrap_or(Selectors::ALL);
        let (ways, links, own) = Default::default();
        Ok(Self { routes, matters, ways, links, own })
    }

    /// The way of a connection.
    pub(super) fn way(&mut self, flow: Flow, routing: Routing) -> Result<Way, Why> {
        if flow.peer.ip().is_loopback() {
            return Ok(Way::Decided(Hop::Loopback));
        }
        if !self.is_own(flow.local.ip(), flow.interface) {
            return Ok(Way::Decided(if routing.transparent { Hop::Transparent } else { Hop::NoAddress }));
        }
        if self.matters.mark && routing.mark.value().is_none() {
            return Ok(Way::Decided(Hop::MarkUnknown));
        }
        let flow = flow.reduced_to(self.matters);
        if let Some(known) = self.ways.get(&flow) {
            return *known;
        }
        let way = self.find(&flow).map_err(|_| Why::Failed);
        self.ways.insert(flow, way);
        way
    }

    fn find(&mut self, flow: &Flow) -> Result<Way, netlink::Error> {
        let exit = match self.routes.next_hop(flow)? {
            NextHop::Local => return Ok(Way::Decided(Hop::Loopback)),
            NextHop::None => return Ok(Way::Decided(Hop::NoRoute)),
            NextHop::Out { interface, gateway } => Exit { interface, gateway },
        };
        let link = match self.links.get(&exit.interface) {
            Some(known) => *known,
            None => self.routes.link(exit.interface)?,
        };
        self.links.insert(exit.interface, link);
        Ok(match link {
            Some(link) if link.is_up => Way::Out { exit, link },
            _ => Way::Decided(Hop::LinkDown),
        })
    }

    /// Whether `address` is one of this host's own. An answer that could not be had is a no: nobody is called
    /// dead over it.
    pub(super) fn is_own(&mut self, address: IpAddr, interface: u32) -> bool {
        let routes = &mut self.routes;
        let find = || routes.is_local(address, interface).unwrap_or(false);
        *self.own.entry((address, interface)).or_insert_with(find)
    }

    /// The addresses of this namespace.
    pub(super) fn addresses(&mut self) -> Vec<Address> {
        self.routes.addresses().unwrap_or_default()
    }
}
