//! Accepting sessions.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;

use deadpeer_core::session::Bye;

use crate::config::Config;
use crate::event::Event;
use crate::hub::Hub;
use crate::place::Place;
use crate::shared::{Counters, SessionStatus};
use crate::tls::ServerTls;
use crate::worker::Role;

/// What a server is to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What each session is joined to; `None`: sessions only beat.
    pub forward: Option<Place>,
    /// `None`: nothing is encrypted, and everybody is believed to be who they say.
    pub tls: Option<ServerTls>,
    /// The rest.
    pub config: Config,
}

impl ServerConfig {
    /// Sessions that only beat, not encrypted.
    pub const fn new(listen: SocketAddr, config: Config) -> Self {
        Self { listen, forward: None, tls: None, config }
    }
}

/// A running server. Dropping it ends it as [`Server::stop`] does.
///
/// ```
/// use std::net::TcpStream;
/// use std::sync::mpsc::sync_channel;
/// use std::time::Duration;
/// use deadpeer::session::{Bye, Config as SessionConfig, Offer, Reason, Session};
/// use deadpeer::Policy;
/// use deadpeer_hub::{Config, Ending, Event, Server, ServerConfig};
///
/// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
/// let offer = Offer::keeping(&policy)?;
/// let (tell, events) = sync_channel(1024);
/// let server = Server::start(ServerConfig::new("127.0.0.1:0".parse()?, Config::new(offer)), tell)?;
///
/// let stream = TcpStream::connect(server.address())?;
/// let client = Session::connect(stream, &SessionConfig::new(offer).id("pi"))?;
/// let Event::Arrived { who, .. } = events.recv()? else { panic!() };
/// assert_eq!(who.id, "pi");
/// assert_eq!(server.sessions().len(), 1);
///
/// drop(client); // says goodbye
/// let Event::Ended { why: Ending::Left(bye), .. } = events.recv()? else { panic!() };
/// assert_eq!(bye.reason, Reason::Done);
/// server.stop(Bye::new(Reason::Done))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server(Hub);

impl Server {
    /// Listens and serves, in threads of its own. What happens is told to `events`, without waiting: what finds
    /// no room there is only counted ([`Counters::untold`]).
    ///
    /// # Errors
    /// Of the system: the address is taken or not this host's, or there are no descriptors.
    pub fn start(config: ServerConfig, events: SyncSender<Event>) -> io::Result<Self> {
        let ServerConfig { listen, forward, tls, config } = config;
        let greets = tls.is_none();
        let role = Role::Server { tls, joined: forward.is_some() };
        Hub::start(listen, &role, forward, greets, config, events).map(Self)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Who is here.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        self.0.sessions()
    }

    /// What has happened.
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }

    /// Accepts nobody any more, says goodbye to all peers and waits for their answers; carried connections may finish. After
    /// [`Limits::stop_within`](crate::Limits::stop_within) it resets what is left.
    ///
    /// # Errors
    /// Why a loop had ended before.
    pub fn stop(self, bye: Bye) -> io::Result<()> {
        self.0.stop(bye)
    }
}
