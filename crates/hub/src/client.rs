//! One session that is kept up.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use deadpeer::session::seed;
use deadpeer_core::session::Bye;
use deadpeer_core::{Reconnect, Return};

use crate::config::Config;
use crate::crew::{Crew, Hand};
use crate::event::{Ending, Event, Refusal};
use crate::place::{Lookup, Place};
use crate::shared::{SessionStatus, Shared};
use crate::tls::ClientTls;
use crate::worker::{Order, Role};

/// What a client is to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Where to connect to.
    pub server: Place,
    /// `None`: nothing is encrypted.
    pub tls: Option<ClientTls>,
    /// How to come back.
    pub returning: Return,
    /// The rest.
    pub config: Config,
}

impl ClientConfig {
    /// Comes back for ever; not encrypted.
    pub fn new(server: Place, config: Config) -> Self {
        Self { server, tls: None, returning: Return::default(), config }
    }
}

/// A session with a server, kept up: when it is lost, another one is made, after waits that grow and differ from
/// client to client ([`Reconnect`]).
///
/// Told are [`Event::Arrived`] (the session is up; the address is the server's), [`Event::Ended`],
/// [`Event::Refused`] (it could not be made) and [`Event::Waiting`]. When no more tries are left, the channel of
/// the events closes.
#[derive(Debug)]
pub struct Client {
    crew: Crew,
    signals: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

enum Signal {
    Event(Event),
    Stop,
}

impl Client {
    /// Connects, in threads of its own; events as in [`Server::start`](crate::Server::start).
    ///
    /// # Errors
    /// Of the system: there are no descriptors.
    pub fn start(config: ClientConfig, events: SyncSender<Event>) -> io::Result<Self> {
        let ClientConfig { server, tls, returning, mut config } = config;
        config.loops = std::num::NonZeroUsize::MIN;
        // One session, and those before it that still close.
        config.limits.sessions = config.limits.sessions.min(16);
        let (signals, received) = channel();
        let tell = signals.clone();
        let tell = move |event| tell.send(Signal::Event(event)).is_ok();
        let shared = Arc::new(Shared::new(config, Box::new(tell)));
        let crew = Crew::start(&shared, &Role::Gateway { tls }, seed())?;
        let keeper = Keeper {
            hand: crew.hands[0].clone(),
            place: Lookup::new(server),
            reconnect: Reconnect::new(returning, seed()),
            shared,
            signals: received,
            events,
        };
        let thread = std::thread::Builder::new().name("client".to_owned()).spawn(|| keeper.run())?;
        Ok(Self { crew, signals, thread: Some(thread) })
    }

    /// The session, while one is up.
    pub fn session(&self) -> Option<SessionStatus> {
        self.crew.report().pop()
    }

    /// Says goodbye, and comes back no more.
    ///
    /// # Errors
    /// Why the loop had ended before.
    pub fn stop(mut self, bye: Bye) -> io::Result<()> {
        self.halt();
        self.crew.stop(bye)
    }

    fn halt(&mut self) {
        // Where it has given up already, nobody listens.
        let _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.halt();
    }
}

struct Keeper {
    hand: Hand,
    place: Lookup,
    reconnect: Reconnect,
    shared: Arc<Shared>,
    signals: Receiver<Signal>,
    events: SyncSender<Event>,
}

impl Keeper {
    /// Until it is stopped, no try is left, or nobody listens.
    fn run(mut self) {
        loop {
            let asked = match self.place.addresses() {
                Ok(places) => {
                    self.hand.order(Order::Dial { places });
                    match self.follow() {
                        Some(asked) => asked,
                        None => return,
                    }
                }
                Err(error) => {
                    let address = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
                    let why = Refusal::Unreachable(error);
                    if !self.pass_on(Event::Refused { address, why }) {
                        return;
                    }
                    Duration::ZERO
                }
            };
            let Some(wait) = self.reconnect.handle_lost(self.shared.clock.now(), asked) else { return };
            if !self.pass_on(Event::Waiting { wait }) || !self.rest(wait) {
                return;
            }
        }
    }

    /// Follows one try until its end; how long the server asked to stay away. `None`: it is to end.
    fn follow(&mut self) -> Option<Duration> {
        loop {
            let event = match self.signals.recv() {
                Ok(Signal::Event(event)) => event,
                Ok(Signal::Stop) | Err(_) => return None,
            };
            let asked = match &event {
                Event::Arrived { .. } => {
                    self.reconnect.handle_up(0, self.shared.clock.now());
                    None
                }
                Event::Ended { why: Ending::Left(bye), .. }
                | Event::Refused { why: Refusal::Bye(bye), .. } => Some(bye.back_in),
                Event::Ended { .. } | Event::Refused { .. } => Some(Duration::ZERO),
                _ => None,
            };
            if !self.pass_on(event) {
                return None;
            }
            if asked.is_some() {
                return asked;
            }
        }
    }

    /// Waits. Says whether it is to go on.
    fn rest(&self, wait: Duration) -> bool {
        let until = std::time::Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            match self.signals.recv_timeout(left) {
                Ok(Signal::Event(_)) => {}
                Ok(Signal::Stop) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Waits for room: there are few events. Says whether anybody listens.
    fn pass_on(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deadpeer::Policy;
    use deadpeer_core::session::{Offer, Reason};
    use std::net::TcpListener;
    use std::sync::mpsc::sync_channel;

    fn config() -> Config {
        let policy = Policy::detect(Duration::from_secs(2)).survive(Duration::from_millis(300)).build();
        let mut config = Config::new(Offer::keeping(&policy.unwrap()).unwrap());
        config.limits.greeting = Duration::from_secs(2);
        config
    }

    /// A loop that dials several addresses, as a name with several of them would have it.
    #[test]
    fn a_silent_address_is_given_up_in_time_and_the_one_that_worked_is_tried_first() {
        let (tell, _kept) = sync_channel(64);
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = crate::Server::start(crate::ServerConfig::new(listen, config()), tell).unwrap();
        // Connections to it are made by the kernel, and nobody greets; nobody listens at the last one.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        silent.set_nonblocking(true).unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let places: Arc<[_]> = [closed, silent.local_addr().unwrap(), server.address()].into();

        let (signals, events) = channel();
        let tell = move |event| signals.send(event).is_ok();
        let shared = Arc::new(Shared::new(config(), Box::new(tell)));
        let mut crew = Crew::start(&shared, &Role::Gateway { tls: None }, seed()).unwrap();
        for connections in [1, 0] {
            let began = std::time::Instant::now();
            crew.hands[0].order(Order::Dial { places: Arc::clone(&places) });
            match events.recv_timeout(Duration::from_secs(10)).unwrap() {
                Event::Arrived { who, .. } => assert_eq!(who.address, server.address()),
                other => panic!("{other:?}"),
            }
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            let tried = std::iter::from_fn(|| silent.accept().ok()).count();
            assert_eq!(tried, connections, "connections to the silent address");
        }
        crew.stop(Bye::new(Reason::Done)).unwrap();
    }
}
