//! Carrying other programs' connections through sessions.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;

use deadpeer_core::session::Bye;

use crate::config::Config;
use crate::event::Event;
use crate::hub::Hub;
use crate::place::Place;
use crate::shared::{Counters, SessionStatus};
use crate::tls::ClientTls;
use crate::worker::Role;

/// What a gateway is to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// Where programs connect to.
    pub listen: SocketAddr,
    /// The server; it forwards each session to some place.
    pub server: Place,
    /// `None`: nothing is encrypted.
    pub tls: Option<ClientTls>,
    /// The rest.
    pub config: Config,
}

impl GatewayConfig {
    /// Not encrypted.
    pub const fn new(listen: SocketAddr, server: Place, config: Config) -> Self {
        Self { listen, server, tls: None, config }
    }
}

/// A running gateway: for each connection that it accepts, it opens a session to the server.
#[derive(Debug)]
pub struct Gateway(Hub);

impl Gateway {
    /// Listens and carries, in threads of its own; events as in [`Server::start`](crate::Server::start).
    ///
    /// # Errors
    /// Of the system: the address is taken or not this host's, or there are no descriptors.
    pub fn start(config: GatewayConfig, events: SyncSender<Event>) -> io::Result<Self> {
        let GatewayConfig { listen, server, tls, config } = config;
        Hub::start(listen, &Role::Gateway { tls }, Some(server), false, config, events).map(Self)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// What it carries.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        self.0.sessions()
    }

    /// What has happened.
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }

    /// As [`Server::stop`](crate::Server::stop). Connections that are still carried end by a reset.
    ///
    /// # Errors
    /// Why a loop had ended before.
    pub fn stop(self, bye: Bye) -> io::Result<()> {
        self.0.stop(bye)
    }
}
