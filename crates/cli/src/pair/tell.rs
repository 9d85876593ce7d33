//! Events as lines.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use deadpeer::session::Happened;
use deadpeer::{PeerLost, Span};
use deadpeer_hub::{Ending, Event};
use indicatif::ProgressBar;
use jiff::{Timestamp, Zoned};

use super::NAP;
use crate::scan::json::SCHEMA;
use crate::scan::json::object::{Value, object};
use crate::terminal::Terminal;

/// Prints events, for people or for programs.
#[derive(Debug)]
pub(super) struct Teller {
    json: bool,
    colour: bool,
    /// The line at the bottom of a terminal that is kept up to date.
    bar: Option<ProgressBar>,
    /// Refusals told in this second, and those that were not.
    second: Instant,
    refusals: u32,
    untold: u64,
}

/// A line for programs. No key is ever absent.
#[derive(Debug, Default)]
struct Line {
    event: &'static str,
    id: Option<String>,
    address: Option<SocketAddr>,
    cause: Option<&'static str>,
    text: Option<String>,
    up: Option<Duration>,
    silent: Option<Duration>,
    interval: Option<Duration>,
    tolerance: Option<Duration>,
    count: Option<u64>,
    /// The session's last events, the oldest first.
    events: Option<Box<[Happened]>>,
}

/// An event of a session, as an object.
struct Logged<'e>(&'e Happened);

impl Value for Logged<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        object!(out, { "what": self.0.what.as_str(), "ago_ms": self.0.ago, "count": self.0.count });
    }
}

impl Teller {
    /// So many refusals are told in a second: whoever is attacked keeps a log that can be read.
    const REFUSALS: u32 = 20;

    pub(super) fn new(json: bool, bar: Option<ProgressBar>) -> Self {
        let colour = Terminal::of_stdout().colour && !json;
        Self { json, colour, bar, second: Instant::now(), refusals: 0, untold: 0 }
    }

    /// It listens.
    pub(super) fn listening(&mut self, address: SocketAddr, text: &str) -> io::Result<()> {
        let line = Line {
            event: "listening",
            address: Some(address),
            text: Some(text.to_owned()),
            ..Line::default()
        };
        if self.json { self.object(&line) } else { self.line(text) }
    }

    /// Something happened.
    pub(super) fn tell(&mut self, event: &Event) -> io::Result<()> {
        if matches!(event, Event::Refused { .. }) {
            self.sum_up_refusals()?;
            self.refusals += 1;
            if self.refusals > Self::REFUSALS {
                self.untold += 1;
                return Ok(());
            }
        }
        let line = Line::of(event);
        if self.json {
            return self.object(&line);
        }
        let text = self.text(&line);
        self.line(&text)
    }

    /// Tells what happens until `cancelled`, or nobody tells any more. `meanwhile` is done now and then.
    pub(super) fn follow(
        &mut self,
        events: &Receiver<Event>,
        cancelled: &AtomicBool,
        mut meanwhile: impl FnMut(),
    ) -> io::Result<()> {
        while !cancelled.load(Relaxed) {
            match events.recv_timeout(NAP) {
                Ok(event) => self.tell(&event)?,
                Err(RecvTimeoutError::Timeout) => self.sum_up_refusals()?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            meanwhile();
        }
        Ok(())
    }

    /// Tells, a second later, how many refusals were not told. To be called now and then.
    fn sum_up_refusals(&mut self) -> io::Result<()> {
        if self.second.elapsed() < Duration::from_secs(1) {
            return Ok(());
        }
        let untold = std::mem::take(&mut self.untold);
        self.second = Instant::now();
        self.refusals = 0;
        match untold {
            0 => Ok(()),
            count if self.json => {
                self.object(&Line { event: "refused-more", count: Some(count), ..Line::default() })
            }
            count => self.line(&format!("{}  refused   and {count} more in this second", now())),
        }
    }

    /// One line as it is, above the line that is kept up to date.
    pub(super) fn line(&self, text: &str) -> io::Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| print(text.as_bytes())),
            None => print(text.as_bytes()),
        }
    }

    fn object(&self, line: &Line) -> io::Result<()> {
        let mut out = Vec::new();
        let time = Timestamp::now().to_string();
        object!(&mut out, {
            "schema": SCHEMA,
            "time": time.as_str(),
            "event": line.event,
            "id": line.id.as_deref(),
            "address": line.address,
            "cause": line.cause,
            "text": line.text.as_deref(),
            "up_ms": line.up,
            "silent_ms": line.silent,
            "interval_ms": line.interval,
            "tolerance_ms": line.tolerance,
            "count": line.count,
            "events": line.events.as_ref().map(|events| events.iter().map(Logged).collect::<Vec<_>>()),
        });
        print(&out)
    }

    /// "14:03:52  died      pi-17 127.0.0.1:4711: the peer's heartbeats stopped, 30 s ago".
    fn text(&self, line: &Line) -> String {
        let (on, off) = match (self.colour, line.event) {
            (true, "died") => ("\x1b[31m", "\x1b[0m"),
            (true, "arrived") => ("\x1b[32m", "\x1b[0m"),
            (true, "ended" | "refused" | "hindered") => ("\x1b[33m", "\x1b[0m"),
            _ => ("", ""),
        };
        let mut text = format!("{}  {on}{:<8}{off}", now(), line.event);
        let id = line.id.as_deref().filter(|id| !id.is_empty());
        let address = line.address.map(|address| address.to_string());
        for part in [id.map(str::to_owned), address].into_iter().flatten() {
            text.push_str("  ");
            text.push_str(&part);
        }
        if let Some(said) = &line.text {
            text.push_str("  ");
            text.push_str(said);
        }
        if let Some(up) = line.up {
            text.push_str(&format!("; it was up for {}", Span(up)));
        }
        text
    }
}

impl Line {
    fn of(event: &Event) -> Self {
        match event {
            Event::Arrived { who, timing } => Self {
                event: "arrived",
                id: Some(who.id.clone()),
                address: Some(who.address),
                text: Some(format!("will be missed after {}", Span(timing.tolerance()))),
                interval: Some(timing.interval()),
                tolerance: Some(timing.tolerance()),
                ..Self::default()
            },
            Event::Ended { who, why, up, events } => Self {
                event: match why {
                    Ending::Died(_) => "died",
                    Ending::Left(_) => "left",
                    _ => "ended",
                },
                id: Some(who.id.clone()),
                address: Some(who.address),
                cause: Some(why.as_str()),
                text: Some(why.to_string()),
                up: Some(*up),
                silent: match why {
                    Ending::Died(PeerLost { silent, .. }) => *silent,
                    _ => None,
                },
                events: Some(events.clone()),
                ..Self::default()
            },
            Event::Refused { address, why } => Self {
                event: "refused",
                address: Some(*address).filter(|address| address.port() != 0),
                cause: Some(why.as_str()),
                text: Some(why.to_string()),
                ..Self::default()
            },
            Event::Unresponsive { who, unanswered } => Self {
                event: "unresponsive",
                id: Some(who.id.clone()),
                address: Some(who.address),
                text: Some(format!(
                    "its bytes arrive, and it has not answered a PING for {}",
                    Span(*unanswered)
                )),
                ..Self::default()
            },
            Event::Draining { who, back_in } => Self {
                event: "draining",
                id: Some(who.id.clone()),
                address: Some(who.address),
                text: Some(format!("the peer asks for another session in {}", Span(*back_in))),
                ..Self::default()
            },
            Event::Waiting { wait } => Self {
                event: "waiting",
                text: Some(format!("trying again in {:.1} s", wait.as_secs_f64())),
                ..Self::default()
            },
            Event::Hindered { why } => Self { event: "hindered", text: Some(why.clone()), ..Self::default() },
            other => Self { event: "other", text: Some(format!("{other:?}")), ..Self::default() },
        }
    }
}

fn now() -> String {
    Zoned::now().strftime("%H:%M:%S").to_string()
}

fn print(line: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line)?;
    out.write_all(b"\n")?;
    out.flush()
}
