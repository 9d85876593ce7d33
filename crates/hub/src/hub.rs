//! What servers and gateways have in common: a door, and the loops behind it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use deadpeer::session::seed;
use deadpeer_core::session::Bye;

use crate::config::Config;
use crate::crew::Crew;
use crate::door::Door;
use crate::event::Event;
use crate::place::{Lookup, Place};
use crate::shared::{Counters, SessionStatus, Shared, without_waiting};
use crate::worker::Role;

#[derive(Debug)]
pub(crate) struct Hub {
    door: Door,
    crew: Crew,
    shared: Arc<Shared>,
}

impl Hub {
    /// Starts the loops, and opens the door. `place` and `greets` are the door's.
    ///
    /// # Errors
    /// Of the system: the address is taken or not this host's, or there are no descriptors.
    pub(crate) fn start(
        listen: SocketAddr,
        role: &Role,
        place: Option<Place>,
        greets: bool,
        config: Config,
        events: SyncSender<Event>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(config, without_waiting(events)));
        let crew = Crew::start(&shared, role, seed())?;
        let place = place.map(Lookup::new);
        let door = Door::open(listen, Arc::clone(&shared), crew.hands.clone(), place, greets)?;
        Ok(Self { door, crew, shared })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.door.address
    }

    pub(crate) fn sessions(&self) -> Vec<SessionStatus> {
        self.crew.report()
    }

    pub(crate) fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Accepts nobody any more, says goodbye to everybody, and waits for the loops to end.
    ///
    /// # Errors
    /// Why a loop had ended before.
    pub(crate) fn stop(mut self, bye: Bye) -> io::Result<()> {
        self.door.close();
        self.crew.stop(bye)
    }
}
