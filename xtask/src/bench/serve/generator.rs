//! Heartbeats spread evenly over time and over many clients.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use super::TOLERATED;
use super::client::{Client, Heard, Kind};
use super::load::{Count, Deaths};
use crate::bench::order::shuffled;

/// In each interval every client has a moment of its own, as far from the next one's as all are from each other.
///
/// The moments are in an order that has nothing to do with that of the connections: neighbours in time are no
/// neighbours in the server's memory.
#[derive(Debug)]
pub(super) struct Generator {
    kind: Kind,
    clients: Vec<Place>,
    sessions: usize,
    order: Vec<u32>,
    start: Instant,
    /// How many moments have passed.
    moments: u64,
    count: Count,
    /// All before this one have been greeted.
    greeted: usize,
    silent: usize,
    /// Tells which of the silent ones the server has closed.
    closed: OwnedFd,
    late_ms: Vec<f64>,
}

/// The place of one client.
#[derive(Debug)]
struct Place {
    /// `None` once the server has closed it.
    client: Option<Client>,
    silent: bool,
}

impl Generator {
    pub(super) fn new(kind: Kind, sessions: usize) -> Result<Self> {
        Ok(Self {
            kind,
            clients: Vec::with_capacity(sessions),
            sessions,
            order: shuffled(sessions),
            start: Instant::now(),
            moments: 0,
            count: Count::default(),
            greeted: 0,
            silent: 0,
            closed: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll_create1")?,
            late_ms: Vec::new(),
        })
    }

    /// Connects one more.
    pub(super) fn connect(&mut self) -> Result<()> {
        let client = Client::connect(&self.kind, self.clients.len())?;
        self.clients.push(Place { client: Some(client), silent: false });
        Ok(())
    }

    /// How many were connected.
    pub(super) fn connected(&self) -> usize {
        self.clients.len()
    }

    /// Whether the server has greeted all of them, as far as it greets.
    pub(super) fn greeted(&mut self) -> Result<bool> {
        while let Some(place) = self.clients.get_mut(self.greeted) {
            hear(place, &mut self.count)?;
            match &place.client {
                Some(client) if !client.greeted() => return Ok(false),
                _ => self.greeted += 1,
            }
        }
        Ok(true)
    }

    /// How long until the next heartbeat.
    pub(super) fn idle(&self) -> Duration {
        self.due().saturating_duration_since(Instant::now())
    }

    fn due(&self) -> Instant {
        let spacing = self.kind.interval.as_nanos() as u64 / self.sessions as u64;
        self.start + Duration::from_nanos(spacing * self.moments)
    }

    /// Sends what is due.
    pub(super) fn beat(&mut self) -> Result<()> {
        loop {
            let (due, now) = (self.due(), Instant::now());
            if now < due {
                return Ok(());
            }
            let number = self.order[(self.moments % self.sessions as u64) as usize] as usize;
            self.moments += 1;
            // Those who are still to connect have their moments, too.
            let Some(place) = self.clients.get_mut(number).filter(|place| !place.silent) else { continue };
            // What came back since the last beat.
            hear(place, &mut self.count)?;
            let Some(client) = &mut place.client else { continue };
            match client.beat() {
                Ok(sent) => self.count.sent += u64::from(sent),
                Err(_) => {
                    place.client = None;
                    self.count.lost += 1;
                }
            }
            let behind = now.saturating_duration_since(due).as_micros() as u64;
            self.count.behind_us = self.count.behind_us.max(behind);
        }
    }

    /// What happened since the start; how late it was, since the last call.
    pub(super) fn count(&mut self) -> Count {
        let count = self.count;
        self.count.behind_us = 0;
        count
    }

    /// From now on so many clients, whose last heartbeats are spread over an interval, say nothing.
    pub(super) fn silence(&mut self, count: usize) -> Result<()> {
        let step = (self.sessions / count.max(1)).max(1);
        for &number in self.order.iter().step_by(step).take(count) {
            let Some(place) = self.clients.get_mut(number as usize) else { continue };
            let Some(client) = &place.client else { continue };
            // Not when something arrives, only when nothing more will: RDHUP and, always, HUP and ERR.
            let data = epoll::EventData::new_u64(number.into());
            epoll::add(&self.closed, client, data, epoll::EventFlags::RDHUP).context("epoll_ctl")?;
            place.silent = true;
            self.silent += 1;
        }
        Ok(())
    }

    /// How many are silent and not closed.
    pub(super) fn silent(&self) -> usize {
        self.silent
    }

    /// How long the server waits for a heartbeat.
    pub(super) fn tolerance(&self) -> Duration {
        self.kind.interval * TOLERATED
    }

    /// Sees which of the silent the server has closed.
    pub(super) fn bury(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(64);
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.closed, spare_capacity(&mut events), Some(&none)).context("epoll_wait")?;
        let now = Instant::now();
        for event in events {
            let place = self.clients.get_mut(event.data.u64() as usize);
            if let Some(client) = place.and_then(|place| place.client.take()) {
                let promised = client.beat_at + self.tolerance();
                let late = now.saturating_duration_since(promised).as_secs_f64();
                let early = promised.saturating_duration_since(now).as_secs_f64();
                self.late_ms.push((late - early) * 1e3);
                self.silent -= 1;
            }
        }
        Ok(())
    }

    /// How the silent ones ended.
    pub(super) fn deaths(&self) -> Deaths {
        Deaths { late_ms: self.late_ms.clone(), unnoticed: self.silent }
    }
}

/// Reads what has come back.
fn hear(place: &mut Place, count: &mut Count) -> Result<()> {
    match place.client.as_mut().map(Client::hear).transpose()? {
        Some(Heard::Answers(answers)) => count.answers += answers,
        Some(Heard::Closed) => {
            place.client = None;
            count.lost += 1;
        }
        None => {}
    }
    Ok(())
}
