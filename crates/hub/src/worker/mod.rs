//! One loop: its sessions, and when it wakes.
//!
//! A turn: wait for readiness, handle all of it, then commands, then what time demands. Silence is looked for only after
//! everything that has arrived was read, so that no peer is called dead whose heartbeat lies in our own queue.
//!
//! ```text
//!   Worker     the loop: when which session gets a turn; Ending removes what is over
//!     Visit    one session in its turn
//!       session   the peer's side: read ─▶ frames ─▶ heard, deliver
//!       plain     the program's side, if the session carries a connection
//!     Entry    its socket, and what it needs beyond rest        Queue   bytes that wait to be written
//! ```
//!
//! What a session may do when is decided by [`deadpeer_core::session`] and [`deadpeer_core::carried`]; here are sockets and
//! buffers. A method of a visit that fails has ended the session, and its error says how.

mod ending;
mod entry;
mod plain;
mod queue;
mod session;
mod visit;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use deadpeer_core::carried::Carried;
use deadpeer_core::session::{Bye, Columns, Flow, History, Role as Side_, Terms};
use deadpeer_core::{Instant, Random, Roster};
use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Events, Poll, Token};
use rustls::Connection;

use crate::dial::{Dial, protect};
use crate::event::{Event, Refusal};
use crate::shared::{Granted, SessionStatus, Shared};
use crate::tls::{ClientTls, ServerTls};
use entry::{Entry, Extra, Joint};
use queue::Queue;
pub(crate) use visit::reset_on_close;
use visit::{Context, Outcome, Visit};

/// What a loop's sessions are.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// Accepted; and joined to a connection that is made to some place, if they are to be.
    Server { tls: Option<ServerTls>, joined: bool },
    /// Made to a server, each for a connection that was accepted.
    Gateway { tls: Option<ClientTls> },
}

impl Role {
    const fn side(&self) -> Side_ {
        match self {
            Self::Server { .. } => Side_::Acceptor,
            Self::Gateway { .. } => Side_::Connector,
        }
    }

    /// The TLS of one more session.
    fn tls(&self) -> Result<Option<Box<Connection>>, rustls::Error> {
        let tls = match self {
            Self::Server { tls, .. } => tls.as_ref().map(ServerTls::connection),
            Self::Gateway { tls } => tls.as_ref().map(ClientTls::connection),
        };
        Ok(tls.transpose()?.map(Box::new))
    }
}

/// What a loop is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// A connection was accepted; and the addresses of what it is to be joined to.
    Accepted { socket: TcpStream, address: SocketAddr, places: Arc<[SocketAddr]> },
    /// Open a session that carries nothing.
    Dial { places: Arc<[SocketAddr]> },
    /// Who is here?
    Report(Sender<Vec<SessionStatus>>),
    /// Say goodbye to all, and end: carried connections may finish until then.
    Stop(Bye, Duration),
}

/// The waker's token; session `n` has `2 n` and its plain connection `2 n + 1`.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// What one wait can tell.
const EVENTS: usize = 1024;
/// A turn that took this much longer than it should was a pause of this process: it was stopped, or starved.
const PAUSE: Duration = Duration::from_millis(500);
/// After a wake-up the loop sleeps for this long, so that the next one carries more: waking is what an idle session
/// costs. Measured beside a loop that wakes for each (`cargo xtask bench serve`): 0.44 of its processor time at 9,000
/// heartbeats a second.
const GATHER: Duration = Duration::from_millis(20);
/// But not when a wake-up carried so many events that there is little to gain.
const MANY: usize = EVENTS / 2;
/// So many reads in a row before others have their turn.
const TURNS: usize = 4;
/// On these systems a read that is not full has taken everything (epoll(7), "edge-triggered"); elsewhere only
/// a read that finds nothing lets the next event come.
const SHORT_IS_ALL: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Which socket of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Session,
    Plain,
}

const fn token(index: usize, side: Side) -> Token {
    Token(2 * index + side as usize)
}

#[derive(Debug)]
pub(crate) struct Worker {
    poll: Poll,
    orders: Receiver<Order>,
    columns: Columns,
    /// Place `n` belongs to row `n` of the columns.
    entries: Vec<Option<Entry>>,
    /// Sessions that carry data, or are being made: they are looked at in each tick.
    watched: BTreeSet<usize>,
    context: Context,
    /// What a read goes into.
    scratch: Vec<u8>,
    tick: Duration,
    /// When the kernel was last asked whether plain sides answer, and how often it is asked.
    looked: Instant,
    look_every: Duration,
    /// When what is left is reset.
    stop_by: Option<Instant>,
}

impl Worker {
    pub(crate) fn new(
        poll: Poll,
        orders: Receiver<Order>,
        shared: Arc<Shared>,
        role: Role,
        seed: u64,
    ) -> io::Result<Self> {
        let config = &shared.config;
        let offer = config.offer;
        // A heartbeat may be late by a tick, so ticks are short next to the shortest interval there can be.
        let tick = (offer.send.min(offer.hear) / 8).clamp(Duration::from_millis(2), Roster::TICK);
        let look_every = (offer.patience / 16).clamp(Duration::from_millis(100), Duration::from_secs(1));
        // A limit may be far above what ever comes.
        let expected = (config.limits.sessions / config.loops.get()).min(65_536);
        let mut terms = Terms::new(offer);
        terms.greeting = config.limits.greeting;
        terms.measure_every = config.measure_every;
        terms.lateness = tick + GATHER.min(tick);
        let context = Context {
            registry: poll.registry().try_clone()?,
            role,
            terms,
            random: Random::new(seed),
            again: Vec::new(),
            out: Vec::new(),
            pieces: Vec::new(),
            now: Instant::default(),
            stopping: None,
            shared: Arc::clone(&shared),
        };
        Ok(Self {
            poll,
            orders,
            columns: Columns::new(tick, expected),
            entries: Vec::with_capacity(expected),
            watched: BTreeSet::new(),
            context,
            scratch: vec![0; plain::SCRATCH],
            tick,
            looked: Instant::default(),
            look_every,
            stop_by: None,
        })
    }

    /// Runs until it was told to stop, and everybody has gone.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut woke = self.now();
        let mut swept = woke;
        loop {
            match self.poll.poll(&mut events, self.patience(swept)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let now = self.now();
            self.notice_pause(woke, now);
            woke = now;
            for event in &events {
                if event.token() != WAKER {
                    self.ready(event);
                }
            }
            self.go_on();
            let told = events.iter().count();
            self.obey();
            // Where not all that is ready was told, heartbeats may lie among the rest.
            if now.since(swept) >= self.tick && told < EVENTS {
                self.sweep();
                swept = now;
            }
            if self.stop_by.is_some() && self.columns.is_empty() {
                return Ok(());
            }
            if self.may_gather(told) {
                std::thread::sleep(GATHER.min(self.tick));
            }
        }
    }

    /// Data must not wait, nor a session that had more than its turn.
    fn may_gather(&self, told: usize) -> bool {
        (1..MANY).contains(&told)
            && self.watched.is_empty()
            && self.context.again.is_empty()
            && self.stop_by.is_none()
    }

    fn now(&mut self) -> Instant {
        self.context.now = self.context.shared.clock.now();
        self.context.now
    }

    /// How long to wait for readiness.
    fn patience(&self, swept: Instant) -> Option<Duration> {
        if !self.context.again.is_empty() {
            return Some(Duration::ZERO);
        }
        // Nobody is here: only a command can come.
        (!self.columns.is_empty()).then(|| swept.after(self.tick).since(self.context.shared.clock.now()))
    }

    fn notice_pause(&mut self, before: Instant, now: Instant) {
        let turn = now.since(before);
        if turn >= PAUSE + self.tick && !self.columns.is_empty() {
            self.columns.handle_pause(turn.saturating_sub(self.tick), now);
        }
    }

    /// Lets `act` work on a session, and ends the session if `act` says so.
    fn visit<R>(&mut self, index: usize, act: impl FnOnce(&mut Visit<'_>) -> Outcome<R>) -> Option<R> {
        let entry = self.entries.get_mut(index)?.as_mut()?;
        let Self { columns, context, .. } = self;
        match act(&mut Visit { index, entry, columns, context }) {
            Ok(result) => Some(result),
            Err(over) => {
                self.end(index, *over, None);
                None
            }
        }
    }

    fn ready(&mut self, event: &Readiness) {
        let index = event.token().0 / 2;
        let side = if event.token() == token(index, Side::Session) { Side::Session } else { Side::Plain };
        let ends = event.is_read_closed() || event.is_error();
        if event.is_writable() || event.is_error() {
            self.visit(index, |visit| match side {
                Side::Session => visit.session_writable(),
                Side::Plain => visit.plain_writable(),
            });
        }
        if event.is_readable() || ends {
            self.readable(index, side, ends);
        }
        if side == Side::Plain && event.is_error() {
            self.visit(index, |visit| visit.look_for_plain_error());
        }
    }

    /// Gives those who had more than their turn another.
    fn go_on(&mut self) {
        for (index, side) in std::mem::take(&mut self.context.again) {
            self.readable(index, side, true);
        }
    }

    /// A socket has something to read. `to_the_end`: read until there is nothing.
    fn readable(&mut self, index: usize, side: Side, to_the_end: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut more = true;
        for _ in 0..TURNS {
            let read = self.visit(index, |visit| match side {
                Side::Session => visit.read_session(to_the_end, &mut scratch),
                Side::Plain => visit.read_plain(to_the_end, &mut scratch),
            });
            more = read.unwrap_or(false);
            if !more {
                break;
            }
        }
        self.scratch = scratch;
        if more {
            self.context.again.push((index, side));
        }
    }

    fn obey(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Accepted { socket, address, places } => self.accepted(socket, address, places),
                Order::Dial { places } => self.dialed(places),
                // Whoever asked may have given up.
                Order::Report(reply) => drop(reply.send(self.report())),
                Order::Stop(bye, within) => self.stop(bye, within),
            }
        }
    }

    /// Takes over a connection that was accepted.
    fn accepted(&mut self, socket: TcpStream, address: SocketAddr, places: Arc<[SocketAddr]>) {
        // Only latency is lost where it can't be set.
        let _ = socket.set_nodelay(true);
        match self.context.role {
            Role::Server { joined: false, .. } => self.open(socket, address, Extra::default()),
            Role::Server { joined: true, .. } => {
                let dial = Dial::new(places, None, self.context.terms.greeting, self.context.now);
                let joint = self.joint(Carried::dialing(), None, Some(Box::new(dial)));
                self.open(socket, address, Extra { joint: Some(Box::new(joint)), ..Extra::default() });
            }
            Role::Gateway { .. } => {
                if let Some(settings) = &self.context.shared.config.settings {
                    protect(&socket2::SockRef::from(&socket), settings);
                }
                let joint = self.joint(Carried::joined(), Some(socket), None);
                self.dial_session(address, places, Some(Box::new(joint)));
            }
        }
    }

    fn joint(&self, carried: Carried, plain: Option<TcpStream>, dial: Option<Box<Dial>>) -> Joint {
        let shared = &self.context.shared;
        let granted = Granted::new(&shared.budget, shared.config.limits.window(), shared.config.limits);
        Joint {
            carried,
            flow: Flow::new(granted.amount(), granted.amount()),
            granted,
            history: History::new(),
            plain,
            dial,
            to_plain: Queue::default(),
            plain_waits: true,
        }
    }

    /// Opens a session that carries nothing.
    fn dialed(&mut self, places: Arc<[SocketAddr]>) {
        let address = places.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        if let Err(why) = self.context.shared.admit(address.ip()) {
            return self.context.shared.tell(Event::Refused { address, why });
        }
        self.dial_session(address, places, None);
    }

    /// Opens a session to the first of `places` that can be reached. `address` is whose it is.
    fn dial_session(&mut self, address: SocketAddr, places: Arc<[SocketAddr]>, joint: Option<Box<Joint>>) {
        let shared = Arc::clone(&self.context.shared);
        let worked = *shared.worked();
        let mut dial = Dial::new(places, worked, shared.config.limits.greeting, self.context.now);
        match dial.begin(None, self.context.now) {
            Ok(socket) => {
                let address = dial.address().filter(|_| joint.is_none()).unwrap_or(address);
                self.open(socket, address, Extra { dial: Some(Box::new(dial)), joint, ..Extra::default() });
            }
            Err(error) => {
                if let Some(plain) = joint.and_then(|joint| joint.plain) {
                    reset_on_close(&plain);
                }
                shared.turn_away(address, Refusal::Unreachable(error));
            }
        }
    }

    fn open(&mut self, socket: TcpStream, address: SocketAddr, mut extra: Extra) {
        extra.tls = match self.context.role.tls() {
            Ok(tls) => tls,
            Err(error) => {
                return self.context.shared.turn_away(address, Refusal::Tls(error.to_string()));
            }
        };
        let index = self.columns.open(self.context.role.side(), &self.context.terms, self.context.now);
        if index == self.entries.len() {
            self.entries.push(None);
        }
        if extra.joint.is_some() || extra.dial.is_some() {
            self.watched.insert(index);
        }
        let extra = Some(Box::new(extra));
        self.entries[index] = Some(Entry { socket, address: address.into(), id: Default::default(), extra });
        let connector = matches!(self.context.role, Role::Gateway { .. });
        self.visit(index, |visit| {
            visit.begin()?;
            if connector {
                visit.greet();
            }
            visit.entry.rest();
            Ok(())
        });
        // The peer's HELLO may be here already.
        self.readable(index, Side::Session, true);
        if let Some(bye) = self.context.stopping {
            self.visit(index, |visit| visit.leave(bye));
        }
    }

    fn stop(&mut self, bye: Bye, within: Duration) {
        self.context.stopping = Some(bye);
        self.stop_by = Some(self.context.now.after(within));
        for index in 0..self.entries.len() {
            self.visit(index, |visit| if visit.is_carrying() { Ok(()) } else { visit.leave(bye) });
        }
    }

    /// What time demands: heartbeats, the end of sessions whose peer is silent, and of attempts that take too long.
    fn sweep(&mut self) {
        let now = self.context.now;
        let look = now.since(self.looked) >= self.look_every;
        if look {
            self.looked = now;
        }
        // What was sent just after the last look is found at the next.
        let late = self.look_every * 2;
        let patience = self.context.terms.offer.patience.saturating_sub(late).max(late);
        let over = self.stop_by.is_some_and(|by| now >= by);
        for index in self.watched.iter().copied().collect::<Vec<_>>() {
            let watched = self.visit(index, |visit| {
                visit.look_for_greeting()?;
                visit.look_for_target()?;
                visit.resume_plain();
                if look {
                    visit.look_at_plain(patience)?;
                }
                Ok(visit.entry.is_joined() || visit.is_greeting())
            });
            if watched == Some(false) {
                self.watched.remove(&index);
            }
        }
        if over {
            for index in 0..self.entries.len() {
                self.visit(index, |visit| visit.give_up());
            }
        }
        let mut due = Vec::new();
        self.columns.sweep_due(now, |index| due.push(index));
        for index in due {
            self.visit(index, |visit| {
                visit.beat();
                Ok(())
            });
        }
        self.end_silent();
    }

    fn report(&self) -> Vec<SessionStatus> {
        let now = self.context.now;
        let status = |(index, entry): (usize, &Option<Entry>)| {
            let entry = entry.as_ref()?;
            let session = self.columns.session(index).filter(|session| session.is_up())?;
            Some(SessionStatus {
                id: entry.id.to_string(),
                address: entry.address.into(),
                up: session.age(now),
                silent: self.columns.silence(index, now),
                rtt: session.rtt(),
            })
        };
        self.entries.iter().enumerate().filter_map(status).collect()
    }
}
