//! What the tests share.

use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use deadpeer_core::Policy;
use deadpeer_core::session::{Bye, Frame, Hello, Offer, Reason};
use deadpeer_hub::{Client, ClientConfig, Config, Event, Server, ServerConfig};

/// Patience for what must come; tests that pass don't wait for it.
pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const DETECT: Duration = Duration::from_secs(2);
pub(crate) const DONE: Bye = Bye::new(Reason::Done);

pub(crate) fn offer() -> Offer {
    let policy = Policy::detect(DETECT).survive(Duration::from_millis(500)).build().unwrap();
    Offer::keeping(&policy).unwrap()
}

pub(crate) fn config() -> Config {
    let mut config = Config::new(offer());
    config.loops = NonZeroUsize::MIN;
    config
}

/// Events, waited for.
pub(crate) struct Events(pub Receiver<Event>);

impl Events {
    /// The next event.
    pub(crate) fn next(&self) -> Event {
        self.0.recv_timeout(SOON).expect("an event")
    }

    /// The first for which `wanted` has an answer; others are passed over.
    pub(crate) fn find<R>(&self, mut wanted: impl FnMut(&Event) -> Option<R>) -> R {
        let until = Instant::now() + SOON;
        let mut seen = Vec::new();
        loop {
            match self.0.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => match wanted(&event) {
                    Some(found) => return found,
                    None => seen.push(event),
                },
                Err(error) => panic!("{error}: only {seen:#?}"),
            }
        }
    }

    /// Nothing happens for so long.
    pub(crate) fn silent_for(&self, time: Duration) {
        match self.0.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => {}
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn arrived(event: &Event) -> Option<String> {
    match event {
        Event::Arrived { who, .. } => Some(who.id.clone()),
        _ => None,
    }
}

/// "died reset", "left", "refused silent" …
pub(crate) fn word(event: &Event) -> Option<&'static str> {
    match event {
        Event::Ended { why, .. } => Some(why.as_str()),
        Event::Refused { why, .. } => Some(why.as_str()),
        _ => None,
    }
}

pub(crate) fn serve(listen: &str, config: Config) -> (Server, Events) {
    let (tell, events) = sync_channel(65_536);
    let server = Server::start(ServerConfig::new(listen.parse().unwrap(), config), tell).unwrap();
    (server, Events(events))
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "its faults are Linux'"))]
pub(crate) fn connect(server: SocketAddr, id: &str) -> (Client, Events) {
    let (tell, events) = sync_channel(1_024);
    let mut config = config();
    config.id = id.to_owned();
    let client = Client::start(ClientConfig::new(server.to_string().parse().unwrap(), config), tell).unwrap();
    (client, Events(events))
}

/// The first bytes of a session that offers what `offer` does.
pub(crate) fn hello(id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame::Hello(Hello { id, ..Hello::new(offer()) }).encode(&mut bytes);
    bytes
}

/// A peer that is driven by hand.
pub(crate) fn raw(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}
