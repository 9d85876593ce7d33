//! A client that comes back.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use deadpeer_core::protocol::Bye;
use deadpeer_core::{Policy, Reconnect, Return, TimingError};

use super::blocking::Ended;
use super::{Config, Offer, Session, clock};
use crate::guard::{Guarded, guard_if_possible};

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
    /// or neither where its program dropped it.
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
            Self::Lost(None, Some(bye)) => write!(f, "the server said goodbye: {}", bye.reason),
            Self::Lost(None, None) => f.write_str("disconnected"),
            Self::Waiting(wait) => write!(f, "trying again in {:.1} s", wait.as_secs_f64()),
        }
    }
}

/// What blocking and tokio connectors have in common: where to go, and when.
pub(super) struct Attempts {
    places: Vec<String>,
    /// The place to begin with: another one after each round and each loss.
    next: usize,
    pub(super) policy: Policy,
    pub(super) config: Config,
    pub(super) id: String,
    reconnect: Reconnect,
    how: Return,
    /// How long to wait before the next round.
    wait: Duration,
    tell: Option<Tell>,
}

type Tell = Box<dyn FnMut(&Transition<'_>) + Send>;

impl Attempts {
    pub(super) fn new<P: Into<String>>(
        places: impl IntoIterator<Item = P>,
        policy: &Policy,
    ) -> Result<Self, TimingError> {
        let how = Return::default();
        Ok(Self {
            places: places.into_iter().map(Into::into).collect(),
            next: 0,
            policy: policy.clone(),
            config: Config::new(Offer::keeping(policy)?),
            id: String::new(),
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

    pub(super) fn on(&mut self, tell: impl FnMut(&Transition<'_>) + Send + 'static) {
        self.tell = Some(Box::new(tell));
    }

    pub(super) fn tell(&mut self, transition: &Transition<'_>) {
        if let Some(tell) = &mut self.tell {
            tell(transition);
        }
    }

    /// The places of one round, beginning with another one each time.
    pub(super) fn round(&mut self) -> Vec<String> {
        let places = &self.places;
        let start = self.next;
        self.next = (start + 1) % places.len().max(1);
        (0..places.len()).map(|n| places[(start + n) % places.len()].clone()).collect()
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

    pub(super) fn up(&mut self, address: SocketAddr) {
        self.reconnect.handle_up(0, clock::now());
        self.tell(&Transition::Up(address));
    }

    /// The session is over. What the peer's goodbye asks for is kept.
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

/// Both connectors: they differ in how they wait, and in what is left of a session.
macro_rules! connector {
    ($(#[$doc:meta])* $last:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct Connector {
            attempts: $crate::session::connector::Attempts,
            /// The session before.
            last: Option<$last>,
        }

        impl Connector {
            /// For `places` ("host:port"; names are looked up again each time), with sessions that keep `policy`.
            ///
            /// # Errors
            /// [`TimingError`](crate::TimingError) where no heartbeat keeps the policy.
            pub fn new<P: Into<String>>(
                places: impl IntoIterator<Item = P>,
                policy: &$crate::Policy,
            ) -> Result<Self, $crate::TimingError> {
                Ok(Self { attempts: $crate::session::connector::Attempts::new(places, policy)?, last: None })
            }

            /// Who this client says it is.
            pub fn id(mut self, id: impl Into<String>) -> Self {
                self.attempts.id = id.into();
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

            /// Is told of every transition.
            pub fn on(mut self, tell: impl FnMut(&$crate::session::Transition<'_>) + Send + 'static) -> Self {
                self.attempts.on(tell);
                self
            }
        }
    };
}
#[cfg(feature = "tokio")]
pub(super) use connector;

connector! {
    /// Keeps coming back: several addresses, waits that grow and differ from client to client
    /// ([`Reconnect`]), a server's wish in its goodbye obeyed.
    ///
    /// Each [`connect`](Connector::connect) gives one session. When that is over, call it again.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use std::thread;
    /// use std::time::Duration;
    /// use deadpeer::Policy;
    /// use deadpeer::session::{Config, Connector, Offer, Session, Transition};
    ///
    /// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?.to_string();
    /// # let config = Config::new(Offer::keeping(&policy)?);
    /// # thread::spawn(move || {
    /// #     let mut sessions = Vec::new();
    /// #     for stream in listener.incoming() { sessions.push(Session::open(stream?, config, "")?); }
    /// #     Ok::<(), std::io::Error>(())
    /// # });
    /// let mut connector = Connector::new([address], &policy)?
    ///     .id("client 7")
    ///     .on(|transition| eprintln!("{transition}")); // connecting to 127.0.0.1:40123 …
    /// let session = connector.connect()?; // waits and tries as long as it takes
    /// session.send(b"hello")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Ended
}

impl Connector {
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
            for place in self.attempts.round() {
                let addresses = match place.to_socket_addrs() {
                    Ok(addresses) => addresses,
                    Err(error) => {
                        failure = Some(error);
                        continue;
                    }
                };
                for address in addresses {
                    self.attempts.tell(&Transition::Connecting(address));
                    match self.open(address) {
                        Ok(session) => {
                            self.attempts.up(address);
                            self.last = Some(session.ended());
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

    fn open(&self, address: SocketAddr) -> io::Result<Session> {
        let patience = self.attempts.policy.detection_time();
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        let stream: Guarded<TcpStream> = guard_if_possible(stream, &self.attempts.policy)?;
        Session::open(stream, self.attempts.config, &self.attempts.id)
    }
}
