//! A client that comes back.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use deadpeer_core::session::Bye;
use deadpeer_core::{Instant, Policy, Reconnect, Return, TimingError};

use super::blocking::Watch;
use super::{Config, Refused, Session, clock};
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
    /// When the next round may begin.
    not_before: Instant,
    /// A round has begun and not ended: its future may have been dropped.
    begun: bool,
    /// The address of the last session, and the number of its place.
    worked: Option<(usize, SocketAddr)>,
    /// The longest wait that a refusal in this round asks for.
    asked: Duration,
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
            not_before: Instant::default(),
            begun: false,
            worked: None,
            asked: Duration::ZERO,
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
    fn round(&self) -> Vec<(usize, String)> {
        self.reconnect.round(self.places.len()).map(|at| (at, self.places[at].clone())).collect()
    }

    /// The addresses of a place in the order in which they are tried: first the one that worked last, or last if its sessions
    /// ended soon again and again.
    pub(super) fn order(&self, place: usize, addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = addresses.collect();
        if let Some((at, worked)) = self.worked
            && at == place
            && let Some(first) = addresses.iter().position(|address| *address == worked)
        {
            let first = if self.reconnect.prefers(place) { first } else { first + 1 };
            addresses.rotate_left(first);
        }
        addresses
    }

    /// How long one address may take to be connected and to greet.
    pub(super) fn patience(&self) -> Duration {
        self.reconnect.place_patience(self.policy.detection_time())
    }

    /// How long to wait before this round, if at all. A wait that is given up before its end goes on with the next call.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        let wait = self.not_before.since(clock::now());
        if wait.is_zero() {
            return None;
        }
        self.tell(&Transition::Waiting(wait));
        Some(wait)
    }

    /// A round begins.
    pub(super) fn begin(&mut self) -> Vec<(usize, String)> {
        (self.begun, self.asked) = (true, Duration::ZERO);
        self.round()
    }

    /// What a round that was given up, because its future was dropped, leaves behind.
    ///
    /// # Errors
    /// `TimedOut` when the limit of tries is reached.
    pub(super) fn abandoned(&mut self) -> io::Result<()> {
        if self.begun { self.failed(Some(io::ErrorKind::TimedOut.into())) } else { Ok(()) }
    }

    /// An address failed; the next one is tried.
    pub(super) fn address_failed(&mut self, address: SocketAddr, error: &io::Error) {
        if let Some(refused) = Refused::of(error) {
            self.asked = self.asked.max(refused.bye.back_in);
        }
        self.tell(&Transition::Failed(address, error));
    }

    pub(super) fn up(&mut self, place: usize, address: SocketAddr) {
        self.begun = false;
        self.worked = Some((place, address));
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

    /// A round failed. The longest wait that a server asked for when it refused this client is kept, up to
    /// [`Return::longest_asked`].
    ///
    /// # Errors
    /// `error` when the limit of tries is reached.
    pub(super) fn failed(&mut self, error: Option<io::Error>) -> io::Result<()> {
        self.begun = false;
        let asked = std::mem::take(&mut self.asked);
        self.again(asked, error)
    }

    fn again(&mut self, asked: Duration, error: Option<io::Error>) -> io::Result<()> {
        let now = clock::now();
        match self.reconnect.handle_lost(now, asked) {
            Some(wait) => self.not_before = now.after(wait),
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

/// The system takes no limit of zero.
const LEAST: Duration = Duration::from_millis(10);

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
    /// The connection blocks, and each of its reads and writes fails when the time is over that a server gets to connect and
    /// to greet: a server that accepts and says nothing holds up no handshake.
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
        self.attempts.abandoned()?;
        loop {
            if let Some(wait) = self.attempts.pause() {
                thread::sleep(wait);
            }
            let mut failure = None;
            for (number, place) in self.attempts.begin() {
                let addresses = match place.to_socket_addrs() {
                    Ok(addresses) => addresses,
                    Err(error) => {
                        failure = Some(error);
                        continue;
                    }
                };
                for address in self.attempts.order(number, addresses) {
                    self.attempts.tell(&Transition::Connecting(address));
                    match self.open(address, &place) {
                        Ok(session) => {
                            self.attempts.up(number, address);
                            self.last = Some(session.watch());
                            return Ok(session);
                        }
                        Err(error) => {
                            self.attempts.address_failed(address, &error);
                            failure = Some(error);
                        }
                    }
                }
            }
            self.attempts.failed(failure)?;
        }
    }

    fn open(&mut self, address: SocketAddr, place: &str) -> io::Result<Session> {
        let until = clock::now().after(self.attempts.patience());
        let left = || until.since(clock::now()).max(LEAST);
        let stream = TcpStream::connect_timeout(&address, left())?;
        stream.set_nodelay(true)?;
        // For a handshake before the session, whose thread never blocks in the socket.
        stream.set_read_timeout(Some(left()))?;
        stream.set_write_timeout(Some(left()))?;
        let mut config = self.attempts.next_config()?;
        config.terms.greeting = config.terms.greeting.min(left());
        (self.open)(stream, place, &self.attempts.policy, &config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_the_one_that_worked_is_tried_first_unless_its_sessions_end_soon() {
        let policy = Policy::detect(Duration::from_secs(2)).build().unwrap();
        let mut attempts = Attempts::new(["db.example:7433"], &policy).unwrap();
        let [one, two, three] = [1, 2, 3].map(|host| SocketAddr::from(([192, 0, 2, host], 7433)));
        let order = |attempts: &Attempts| attempts.order(0, [one, two, three].into_iter());
        assert_eq!(order(&attempts), [one, two, three]);
        for expected in [[two, three, one], [two, three, one], [three, one, two]] {
            attempts.up(0, two);
            assert_eq!(order(&attempts), [two, three, one]);
            attempts.lost(None, None).unwrap();
            assert_eq!(order(&attempts), expected);
        }
        attempts.up(0, three);
        assert_eq!(order(&attempts), [three, one, two]);
        assert_eq!(attempts.order(1, [one, three].into_iter()), [one, three], "another place");
    }
}
