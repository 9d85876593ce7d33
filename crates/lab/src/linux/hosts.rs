//! What all networks of the lab have.

use deadpeer_os::linux::namespace::NetworkNamespace;

use crate::{ImpairedLink, Network, Place, Side};

/// Two hosts with a path between them.
pub trait Hosts {
    /// The host with one address of each family.
    fn left_host(&self) -> &NetworkNamespace;
    /// The host with several addresses.
    fn right_host(&self) -> &NetworkNamespace;
}

impl Hosts for Network {
    fn left_host(&self) -> &NetworkNamespace {
        self.namespace(Place::Left)
    }

    fn right_host(&self) -> &NetworkNamespace {
        self.namespace(Place::Right)
    }
}

impl Hosts for ImpairedLink {
    fn left_host(&self) -> &NetworkNamespace {
        self.namespace(Side::Left)
    }

    fn right_host(&self) -> &NetworkNamespace {
        self.namespace(Side::Right)
    }
}
