//! One loop: its sessions, and when it wakes.
//!
//! A turn: wait for readiness, handle all of it, then what was ordered, then what time demands. Silence is
//! looked for only after everything that has arrived was read, so that no peer is called dead whose heartbeat
//! lies in our own queue.

mod buffer;
mod ending;
mod joint;
pub(crate) use joint::reset_on_close;
mod plain;
mod session;
mod speech;
mod table;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use deadpeer_core::protocol::Bye;
use deadpeer_core::{Instant, Random};
use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::clock::seconds;
use crate::shared::{SessionStatus, Shared};
use crate::tls::{ClientTls, ServerTls};
use table::Table;

/// What a loop's sessions are.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// Accepted; and joined to a connection that is made to some place, if they are to be.
    Server { tls: Option<ServerTls>, joined: bool },
    /// Made to a server, each for a connection that was accepted.
    Gateway { tls: Option<ClientTls> },
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
    /// Say goodbye to all, and end.
    Stop(Bye),
}

/// The waker's token; session `n` has `2 n` and its plain connection `2 n + 1`.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// What one wait can tell.
const EVENTS: usize = 1024;
/// A turn that took this much longer than it should was a pause of our own: the process was stopped, or starved.
const PAUSE: Duration = Duration::from_millis(500);
/// After a wake-up the loop sleeps for this long, so that the next one carries more: waking is what an idle session
/// costs. Measured beside a loop that wakes for each (`cargo xtask bench serve`): 0.44 of its processor time at 9,000
/// heartbeats a second.
const GATHER: Duration = Duration::from_millis(20);
/// But not when a wake-up carried so many events that there is little to gain.
const MANY: usize = EVENTS / 2;
/// After a goodbye the peer's is waited for this long.
const FAREWELL: Duration = Duration::from_secs(1);
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
    shared: Arc<Shared>,
    role: Role,
    table: Table,
    /// Those that carry data.
    joined: BTreeSet<usize>,
    /// Sockets that had their turn and may have more.
    again: Vec<(usize, Side)>,
    random: Random,
    /// What a read goes into. A message's head stands before what a plain connection said.
    scratch: Vec<u8>,
    /// What is about to be written.
    out: Vec<u8>,
    tick: Duration,
    /// When it was last asked whether those that carry data are answered, and how often that is asked.
    looked: Instant,
    look_every: Duration,
    stopping: bool,
}

impl Worker {
    pub(crate) fn new(
        poll: Poll,
        orders: Receiver<Order>,
        shared: Arc<Shared>,
        role: Role,
        seed: u64,
    ) -> Self {
        let offer = &shared.config.offer;
        // A beat may be late by a tick, so ticks are short next to the shortest interval there can be.
        let tick =
            (offer.send.min(offer.hear) / 8).clamp(Duration::from_millis(2), deadpeer_core::Roster::TICK);
        let look_every = (offer.at_most / 16).clamp(Duration::from_millis(100), Duration::from_secs(1));
        let chunk = shared.config.limits.chunk();
        // A limit may be far above what ever comes.
        let expected = (shared.config.limits.sessions / shared.config.loops.get()).min(65_536);
        Self {
            poll,
            orders,
            role,
            table: Table::new(tick, expected),
            joined: BTreeSet::new(),
            again: Vec::new(),
            random: Random::new(seed),
            scratch: vec![0; chunk + deadpeer_core::protocol::DATA_HEADER],
            out: Vec::new(),
            tick,
            looked: Instant::default(),
            look_every,
            stopping: false,
            shared,
        }
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
                    self.ready(event, now);
                }
            }
            self.go_on(now);
            let told = events.iter().count();
            self.obey(now);
            // Where not all that is ready was told, heartbeats may lie among the rest.
            if now.since(swept) >= self.tick && told < EVENTS {
                self.sweep(now);
                swept = now;
            }
            if self.stopping && self.table.len() == 0 {
                return Ok(());
            }
            if self.may_gather(told) {
                std::thread::sleep(GATHER.min(self.tick));
            }
        }
    }

    /// Data must not wait, nor who had more than its turn.
    fn may_gather(&self, told: usize) -> bool {
        (1..MANY).contains(&told) && self.joined.is_empty() && self.again.is_empty() && !self.stopping
    }

    fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// How long to wait for readiness.
    fn patience(&self, swept: Instant) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        // Nobody is here: only an order can come.
        (self.table.len() != 0).then(|| swept.after(self.tick).since(self.now()))
    }

    fn notice_pause(&mut self, before: Instant, now: Instant) {
        let turn = now.since(before);
        if turn >= PAUSE + self.tick && self.table.len() != 0 {
            self.table.roster.handle_pause(now, turn.saturating_sub(self.tick));
        }
    }

    fn ready(&mut self, event: &Readiness, now: Instant) {
        let index = event.token().0 / 2;
        let side = if event.token() == token(index, Side::Session) { Side::Session } else { Side::Plain };
        let ends = event.is_read_closed() || event.is_error();
        if event.is_writable() || event.is_error() {
            match side {
                Side::Session => self.session_writable(index, now),
                Side::Plain => self.plain_writable(index, now),
            }
        }
        if event.is_readable() || ends {
            self.readable(index, side, ends, now);
        }
    }

    /// Gives those who had more than their turn another.
    fn go_on(&mut self, now: Instant) {
        for (index, side) in std::mem::take(&mut self.again) {
            self.readable(index, side, true, now);
        }
    }

    /// A socket has something to read. `to_the_end`: read until there is nothing.
    fn readable(&mut self, index: usize, side: Side, to_the_end: bool, now: Instant) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut more = true;
        for _ in 0..TURNS {
            more = match side {
                Side::Session => self.read_session(index, to_the_end, &mut scratch, now),
                Side::Plain => self.read_plain(index, to_the_end, &mut scratch, now),
            };
            if !more {
                break;
            }
        }
        self.scratch = scratch;
        if more {
            self.again.push((index, side));
        }
    }

    fn obey(&mut self, now: Instant) {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Accepted { socket, address, places } => self.accepted(socket, address, places, now),
                Order::Dial { places } => self.dialed(&places, now),
                // Who asked may have given up.
                Order::Report(reply) => drop(reply.send(self.report(now))),
                Order::Stop(bye) => {
                    self.stopping = true;
                    for index in self.table.indices() {
                        self.leave(index, bye, now);
                    }
                }
            }
        }
    }

    /// What time demands: beats, and the end of those whose beats have stopped.
    fn sweep(&mut self, now: Instant) {
        let look = now.since(self.looked) >= self.look_every;
        if look {
            self.looked = now;
        }
        for index in self.joined.iter().copied().collect::<Vec<_>>() {
            self.attend(index, now);
            if look {
                self.look(index, now);
            }
        }
        let mut owing = Vec::new();
        self.table.due(now, &mut owing);
        for index in owing {
            self.beat(index, now);
        }
        let mut lost = Vec::new();
        self.table.lost(now, &mut lost);
        for (index, silent) in lost {
            self.fell_silent(index, silent, now);
        }
    }

    fn report(&mut self, now: Instant) -> Vec<SessionStatus> {
        let mut report = Vec::with_capacity(self.table.len());
        for index in self.table.indices() {
            let silent = self.table.silent(index, now);
            let Some(entry) = self.table.get(index).filter(|entry| entry.dialogue.is_up()) else { continue };
            report.push(SessionStatus {
                id: entry.id.to_string(),
                address: entry.address.into(),
                up: Duration::from_secs(seconds(now).saturating_sub(entry.since).into()),
                silent,
                rtt: (entry.rtt != 0).then(|| Duration::from_micros(entry.rtt.into())),
            });
        }
        report
    }
}

/// Both directions from the start: a connection that can be written to says so once, and then only after a write
/// that found no room.
fn watch(registry: &Registry, socket: &mut TcpStream, index: usize, side: Side) -> io::Result<()> {
    registry.register(socket, token(index, side), Interest::READABLE | Interest::WRITABLE)
}
