//! A client that comes back.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use deadpeer_core::session::Bye;
use deadpeer_core::{Policy, Reconnect, Return, TimingError};

use super::blocking::Watch;
use super::{Config, Session, clock};
use crate::guard::guard_if_possible;

/// What a [`Connector`] is doing.
#[derive(Debug)]
#[non_exhaustive]
pub enum Transition<'t> {
    /// It tries an address.
    Connecting(SocketAddr),
    /// That failed; the next address is tried, if there is one.
    Failed(SocketAddr, &'t io::Error),
    /// A session is up.
    Up(SocketAddr),
    /// The session is over: an error, which may carry a [`PeerLost`](crate::PeerLost), or the peer's goodbye,
    /// or neither if its program dropped it.
    Lost(Option<&'t io::Error>, Option<Bye>),
    /// It waits before it tries again.
    Waiting(Duration),
}

impl fmt::Display for Transition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting(address) => write!(f, "connecting to {address}"),
            Self::Failed(address, error) => write!(f, "{address}: {error}"),
            Self::Up(address) => write!(f, "connected to {address}"),
            Self::Lost(Some(error), _) => write!(f, "lost: {error}"),
            Self::Lost(None, Some(bye)) => write!(f, "the server said goodbye: {bye}"),
            Self::Lost(None, None) => f.write_str("disconnected"),
            Self::Waiting(wait) => write!(f, "trying again in {:.1} s", wait.as_secs_f64()),
        }
    }
}

/// What blocking and tokio connectors have in common: where to go, and when.
pub(super) struct Attempts {
    places: Vec<String>,
    pub(super) policy: Policy,
    pub(super) config: Config,
    /// Makes the token of each session.
    authenticate: Option<Authenticate>,
    reconnect: Reconnect,
    how: Return,
    /// How long to wait before the next round.
    wait: Duration,
    tell: Option<Tell>,
}

type Tell = Box<dyn FnMut(&Transition<'_>) + Send>;
type Authenticate = Box<dyn FnMut() -> io::Result<Vec<u8>> + Send>;

impl Attempts {
    pub(super) fn new<P: Into<String>>(
        places: impl IntoIterator<Item = P>,
        policy: &Policy,
    ) -> Result<Self, TimingError> {
        let how = Return::default();
        Ok(Self {
            places: places.into_iter().map(Into::into).collect(),
            policy: policy.clone(),
            config: Config::keeping(policy)?,
            authenticate: None,
            reconnect: Reconnect::new(how, clock::seed()),
            how,
            wait: Duration::ZERO,
            tell: None,
        })
    }

    pub(super) fn returning(&mut self, how: Return) {
        self.how = how;
        self.reconnect = Reconnect::new(how, clock::seed());
    }

    pub(super) fn authenticating(&mut self, token: impl FnMut() -> io::Result<Vec<u8>> + Send + 'static) {
        self.authenticate = Some(Box::new(token));
    }

    /// The config of the next session.
    ///
    /// # Errors
    /// Of the hook that makes the token.
    pub(super) fn next_config(&mut self) -> io::Result<Config> {
        let mut config = self.config.clone();
        if let Some(authenticate) = &mut self.authenticate {
            config.token = authenticate()?;
        }
        Ok(config)
    }

    pub(super) fn on(&mut self, tell: impl FnMut(&Transition<'_>) + Send + 'static) {
        self.tell = Some(Box::new(tell));
    }

    pub(super) fn tell(&mut self, transition: &Transition<'_>) {
        if let Some(tell) = &mut self.tell {
            tell(transition);
        }
    }

    /// The places of one round, with their numbers: first the one that worked last.
    pub(super) fn round(&self) -> Vec<(usize, String)> {
        self.reconnect.round(self.places.len()).map(|at| (at, self.places[at].clone())).collect()
    }

    /// How long one address may take to be connected and to greet.
    pub(super) fn patience(&self) -> Duration {
        self.reconnect.place_patience(self.policy.detection_time())
    }

    /// How long to wait before this round, if at all.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        let wait = std::mem::take(&mut self.wait);
        if wait.is_zero() {
            return None;
        }
        self.tell(&Transition::Waiting(wait));
        Some(wait)
    }

    pub(super) fn up(&mut self, place: usize, address: SocketAddr) {
        self.reconnect.handle_up(place, clock::now());
        self.tell(&Transition::Up(address));
    }

    /// The session is over. What the peer's goodbye asks for is kept, up to [`Return::longest_asked`].
    ///
    /// # Errors
    /// The error that ended it, or one that says so, when the limit of tries is reached.
    pub(super) fn lost(&mut self, error: Option<io::Error>, goodbye: Option<Bye>) -> io::Result<()> {
        self.tell(&Transition::Lost(error.as_ref(), goodbye));
        let asked = goodbye.map_or(Duration::ZERO, |bye| bye.back_in);
        self.again(asked, error)
    }

    /// A round failed.
    ///
    /// # Errors
    /// `error` when the limit of tries is reached.
    pub(super) fn failed(&mut self, error: Option<io::Error>) -> io::Result<()> {
        self.again(Duration::ZERO, error)
    }

    fn again(&mut self, asked: Duration, error: Option<io::Error>) -> io::Result<()> {
        match self.reconnect.handle_lost(clock::now(), asked) {
            Some(wait) => self.wait = wait,
            None => return Err(error.unwrap_or_else(|| io::ErrorKind::NotConnected.into())),
        }
        Ok(())
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts")
            .field("places", &self.places)
            .field("how", &self.how)
            .finish_non_exhaustive()
    }
}

/// Both connectors: they differ in how they wait, in how they open a session, and in what is left of it.
macro_rules! connector {
    ($(#[$doc:meta])* $last:ty, $open:ty) => {
        $(#[$doc])*
        pub struct Connector {
            attempts: $crate::session::connector::Attempts,
            /// The session before.
            last: Option<$last>,
            open: $open,
        }

        impl Connector {
            /// For `places` ("host:port"; names are looked up again each time), with sessions that keep `policy`.
            ///
            /// # Errors
            /// [`TimingError`](crate::TimingError) if no heartbeat keeps the policy.
            pub fn new<P: Into<String>>(
                places: impl IntoIterator<Item = P>,
                policy: &$crate::Policy,
            ) -> Result<Self, $crate::TimingError> {
                let attempts = $crate::session::connector::Attempts::new(places, policy)?;
                Ok(Self { attempts, last: None, open: Self::plain() })
            }

            /// Who this client says it is.
            pub fn id(mut self, id: impl Into<String>) -> Self {
                self.attempts.config.id = id.into();
                self
            }

            /// How to come back.
            pub fn returning(mut self, how: $crate::Return) -> Self {
                self.attempts.returning(how);
                self
            }

            /// Takes part in the sessions otherwise than the policy alone says.
            pub fn config(mut self, config: $crate::session::Config) -> Self {
                self.attempts.config = config;
                self
            }

            /// Makes the token that proves to each server who this client is. Over encrypted streams only: see
            /// [`secured`](Self::secured).
            pub fn authenticating(
                mut self,
                token: impl FnMut() -> std::io::Result<Vec<u8>> + Send + 'static,
            ) -> Self {
                self.attempts.authenticating(token);
                self
            }

            /// Is told of every transition.
            pub fn on(mut self, tell: impl FnMut(&$crate::session::Transition<'_>) + Send + 'static) -> Self {
                self.attempts.on(tell);
                self
            }
        }

        impl std::fmt::Debug for Connector {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("Connector").field("attempts", &self.attempts).finish_non_exhaustive()
            }
        }
    };
}
#[cfg(feature = "tokio")]
pub(super) use connector;

/// Opens a session over a TCP connection to a place.
type Open = Box<dyn FnMut(TcpStream, &str, &Policy, &Config) -> io::Result<Session> + Send>;

connector! {
    /// Keeps coming back: several addresses, waits that grow and differ from client to client
    /// ([`Reconnect`]), a server's wish in its goodbye obeyed. A place that stays silent is given up within the policy's
    /// detection time, and the next one is tried; after a session, the place that worked is tried first.
    ///
    /// Each [`connect`](Connector::connect) gives one session. When that is over, call it again.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use std::thread;
    /// use std::time::Duration;
    /// use deadpeer::Policy;
    /// use deadpeer::session::{Config, Connector, Session, Transition};
    ///
    /// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?.to_string();
    /// # let config = Config::keeping(&policy)?;
    /// # thread::spawn(move || {
    /// #     let mut sessions = Vec::new();
    /// #     for stream in listener.incoming() { sessions.push(Session::accept(stream?, &config)?); }
    /// #     Ok::<(), std::io::Error>(())
    /// # });
    /// let mut connector = Connector::new([address], &policy)?
    ///     .id("client 7")
    ///     .on(|transition| eprintln!("{transition}")); // connecting to 127.0.0.1:40123 …
    /// let session = connector.connect()?; // waits and tries as long as it takes
    /// session.send(b"hello")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Watch, Open
}

impl Connector {
    fn plain() -> Open {
        Box::new(|stream, _, policy, config| Session::connect(guard_if_possible(stream, policy)?, config))
    }

    /// Opens each session by `open`, which gets the TCP connection, the place as it was given ("host:port"), and the config:
    /// for TLS, or another layer ([`Layered`](super::Layered)).
    ///
    /// ```no_run
    /// # use deadpeer::session::{Connector, Layered, Session};
    /// # fn handshake(tcp: std::net::TcpStream, _: &str) -> std::io::Result<std::net::TcpStream> { Ok(tcp) }
    /// # let policy = deadpeer::Policy::detect(std::time::Duration::from_secs(9)).build()?;
    /// let connector = Connector::new(["db.example:7433"], &policy)?
    ///     .secured(|tcp, place, config| {
    ///         let socket = tcp.try_clone()?;
    ///         Session::connect(Layered::new(handshake(tcp, place)?, socket), config)
    ///     })
    ///     .authenticating(|| std::fs::read("/run/secrets/token"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn secured(
        mut self,
        mut open: impl FnMut(TcpStream, &str, &Config) -> io::Result<Session> + Send + 'static,
    ) -> Self {
        self.open = Box::new(move |stream, place, _, config| open(stream, place, config));
        self
    }

    /// The next session; waits and tries until there is one. The one before, if any, is taken as lost.
    ///
    /// # Errors
    /// That of the last try when the limit of tries is reached.
    pub fn connect(&mut self) -> io::Result<Session> {
        if let Some(last) = self.last.take() {
            let (error, goodbye) = last.tell();
            self.attempts.lost(error, goodbye)?;
        }
        loop {
            if let Some(wait) = self.attempts.pause() {
                thread::sleep(wait);
            }
            let mut failure = None;
            for (number, place) in self.attempts.round() {
                let addresses = match place.to_socket_addrs() {
                    Ok(addresses) => addresses,
                    Err(error) => {
                        failure = Some(error);
                        continue;
                    }
                };
                for address in addresses {
                    self.attempts.tell(&Transition::Connecting(address));
                    match self.open(address, &place) {
                        Ok(session) => {
                            self.attempts.up(number, address);
                            self.last = Some(session.watch());
                            return Ok(session);
                        }
                        Err(error) => {
                            self.attempts.tell(&Transition::Failed(address, &error));
                            failure = Some(error);
                        }
                    }
                }
            }
            self.attempts.failed(failure)?;
        }
    }

    fn open(&mut self, address: SocketAddr, place: &str) -> io::Result<Session> {
        let stream = TcpStream::connect_timeout(&address, self.attempts.patience())?;
        stream.set_nodelay(true)?;
        let mut config = self.attempts.next_config()?;
        config.terms.greeting = config.terms.greeting.min(self.attempts.patience());
        (self.open)(stream, place, &self.attempts.policy, &config)
    }
}
