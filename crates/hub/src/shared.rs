//! What the loops of a hub share.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, Limits};
use crate::event::{Event, Refusal};

/// A session that is up, as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStatus {
    /// The name in its HELLO.
    pub id: String,
    /// As in [`Who`](crate::Who).
    pub address: SocketAddr,
    /// It has been up for so long.
    pub up: Duration,
    /// Nothing was heard for so long.
    pub silent: Duration,
    /// The last round-trip time, application to application, once one was measured.
    pub rtt: Option<Duration>,
}

/// What has happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections that are held now, those that have not greeted yet included.
    pub held: u64,
    /// Bytes that are held for peers which take no more at present.
    pub buffered: u64,
    /// Bytes of data from sessions to plain connections.
    pub bytes_to_plain: u64,
    /// Bytes of data from plain connections to sessions.
    pub bytes_from_plain: u64,
    /// Sessions that came up.
    pub arrived: u64,
    /// Sessions that ended, by kind ([`Ending::as_str`](crate::Ending::as_str)).
    pub ended: Vec<(&'static str, u64)>,
    /// Connections that were refused, by kind ([`Refusal::as_str`]).
    pub refused: Vec<(&'static str, u64)>,
    /// Events that nobody could be told, because they were not taken fast enough.
    pub untold: u64,
}

/// Bytes that are held, of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Account(AtomicUsize);

impl Account {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn held(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// What is granted to the peers of all sessions: the bytes that they may have under way.
#[derive(Debug, Default)]
pub(crate) struct Budget(AtomicUsize);

/// The part of the budget that one session has. It goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Granted {
    budget: Arc<Budget>,
    amount: u32,
    /// The most for this session, and for all.
    most: u32,
    most_in_all: usize,
}

impl Granted {
    pub(crate) fn new(budget: &Arc<Budget>, amount: u32, limits: Limits) -> Self {
        budget.0.fetch_add(amount as usize, Relaxed);
        let most = u32::try_from(limits.buffered_per_session).unwrap_or(u32::MAX);
        Self { budget: Arc::clone(budget), amount, most, most_in_all: limits.buffered }
    }

    pub(crate) const fn amount(&self) -> u32 {
        self.amount
    }

    /// Grants as much again, if the limits allow it. Says how much.
    pub(crate) fn widen(&mut self) -> u32 {
        let more = self.amount.min(self.most.saturating_sub(self.amount));
        if more == 0 || self.budget.0.load(Relaxed) + more as usize > self.most_in_all {
            return 0;
        }
        self.budget.0.fetch_add(more as usize, Relaxed);
        self.amount += more;
        more
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.amount as usize, Relaxed);
    }
}

pub(crate) struct Shared {
    pub config: Config,
    pub clock: Clock,
    pub account: Arc<Account>,
    pub budget: Arc<Budget>,
    /// The address of the server that worked last, for those who dial.
    worked: Mutex<Option<SocketAddr>>,
    pub held: AtomicUsize,
    pub to_plain: AtomicU64,
    pub from_plain: AtomicU64,
    tally: Mutex<Tally>,
    per_address: Mutex<HashMap<IpAddr, u32>>,
    tell: Tell,
}

/// Takes an event if there is room for it.
pub(crate) type Tell = Box<dyn Fn(Event) -> bool + Send + Sync>;

#[derive(Debug, Default)]
struct Tally {
    arrived: u64,
    ended: Vec<(&'static str, u64)>,
    refused: Vec<(&'static str, u64)>,
    untold: u64,
}

impl Shared {
    pub(crate) fn new(config: Config, tell: Tell) -> Self {
        Self {
            config,
            clock: Clock::start(),
            account: Arc::default(),
            budget: Arc::default(),
            worked: Mutex::default(),
            held: AtomicUsize::new(0),
            to_plain: AtomicU64::new(0),
            from_plain: AtomicU64::new(0),
            tally: Mutex::default(),
            per_address: Mutex::default(),
            tell,
        }
    }

    /// Counts and tells. It never waits: an audience that is too slow misses events, and the count of those
    /// stays right.
    pub(crate) fn tell(&self, event: Event) {
        let mut tally = lock(&self.tally);
        match &event {
            Event::Arrived { .. } => tally.arrived += 1,
            Event::Ended { why, .. } => count(&mut tally.ended, why.as_str()),
            Event::Refused { why, .. } => count(&mut tally.refused, why.as_str()),
            _ => {}
        }
        if !(self.tell)(event) {
            tally.untold += 1;
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        let tally = lock(&self.tally);
        Counters {
            held: self.held.load(Relaxed) as u64,
            buffered: self.account.held() as u64,
            bytes_to_plain: self.to_plain.load(Relaxed),
            bytes_from_plain: self.from_plain.load(Relaxed),
            arrived: tally.arrived,
            ended: tally.ended.clone(),
            refused: tally.refused.clone(),
            untold: tally.untold,
        }
    }

    /// One more connection from there, if the limits allow it.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        if self.held.load(Relaxed) >= limits.sessions {
            return Err(Refusal::Full { limit: limits.sessions });
        }
        if let Some(limit) = limits.sessions_per_address {
            let mut per_address = lock(&self.per_address);
            let held = per_address.entry(address).or_default();
            if *held >= limit {
                return Err(Refusal::FullForAddress { limit });
            }
            *held += 1;
        }
        self.held.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Whether nothing more may be read that could have to be held.
    pub(crate) fn is_over_budget(&self) -> bool {
        self.account.held() >= self.config.limits.buffered
    }

    pub(crate) fn worked(&self) -> MutexGuard<'_, Option<SocketAddr>> {
        lock(&self.worked)
    }

    /// One that was admitted, and never became a session.
    pub(crate) fn turn_away(&self, address: SocketAddr, why: Refusal) {
        self.release(address.ip());
        self.tell(Event::Refused { address, why });
    }

    /// One less.
    pub(crate) fn release(&self, address: IpAddr) {
        self.held.fetch_sub(1, Relaxed);
        if self.config.limits.sessions_per_address.is_some() {
            let mut per_address = lock(&self.per_address);
            if let Some(held) = per_address.get_mut(&address) {
                *held -= 1;
                if *held == 0 {
                    per_address.remove(&address);
                }
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Never waits: what finds no room is not told.
pub(crate) fn without_waiting(events: SyncSender<Event>) -> Tell {
    Box::new(move |event| events.try_send(event).is_ok())
}

fn count(kinds: &mut Vec<(&'static str, u64)>, kind: &'static str) {
    match kinds.iter_mut().find(|(name, _)| *name == kind) {
        Some((_, count)) => *count += 1,
        None => kinds.push((kind, 1)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is counts: a panic elsewhere leaves none of them wrong.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
