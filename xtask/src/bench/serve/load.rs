//! The process that beats on thousands of connections, so that its processor time isn't the server's.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::set_current_timer_slack;
use serde::{Deserialize, Serialize};

use super::client::{Kind, Speech};
use super::generator::Generator;

/// How long nothing need happen at most: then new orders and closed connections are looked for.
const LOOK: Duration = Duration::from_millis(1);
/// Those whom the server should have given up get so long beyond that.
const GRACE: Duration = Duration::from_secs(3);

/// Beats until stdin ends. Orders come as lines of it; what happens is told as lines of JSON.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    #[arg(long)]
    pub(super) to: SocketAddr,
    #[arg(long)]
    pub(super) sessions: usize,
    /// So many are opened first
    #[arg(long)]
    pub(super) first: usize,
    #[arg(long)]
    pub(super) interval_ms: u64,
    #[arg(long, value_enum)]
    pub(super) speech: Speech,
    /// The server's certificate, if it speaks TLS
    #[arg(long)]
    pub(super) root: Option<PathBuf>,
}

/// What the load generator is told, a line each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Open all sessions; answered by [`Told::Open`].
    Open,
    /// Answered by [`Told::Count`].
    Count,
    /// Stop beating on so many of them; answered by [`Told::Deaths`] when the server has closed them.
    Silence(usize),
}

impl Order {
    pub(super) fn line(self) -> String {
        match self {
            Self::Open => "open".into(),
            Self::Count => "count".into(),
            Self::Silence(count) => format!("silence {count}"),
        }
    }

    fn parse(line: &str) -> Result<Self> {
        match line.split_once(' ') {
            None if line == "open" => Ok(Self::Open),
            None if line == "count" => Ok(Self::Count),
            Some(("silence", count)) => Ok(Self::Silence(count.parse()?)),
            _ => bail!("no order: {line:?}"),
        }
    }
}

/// What it tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    /// All of the first sessions, or all, are open and greeted.
    Open,
    /// Since the start.
    Count(Count),
    /// How the silenced ended.
    Deaths(Deaths),
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Count {
    /// Heartbeats sent.
    pub(super) sent: u64,
    /// What came back: answers, and the server's own beats.
    pub(super) answers: u64,
    /// Sessions that ended although they were not silent.
    pub(super) lost: u64,
    /// How late the latest heartbeat since the last count went out, in microseconds.
    pub(super) behind_us: u64,
}

/// How the silenced sessions ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Deaths {
    /// How many milliseconds after its promised time the server closed each; below zero it was early.
    pub(super) late_ms: Vec<f64>,
    /// So many it did not close.
    pub(super) unnoticed: usize,
}

impl Load {
    pub(in crate::bench) fn run(&self) -> Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL)).context("prctl(PR_SET_PDEATHSIG)")?;
        // A sleep is to end when it is due.
        set_current_timer_slack(NonZeroU64::new(1)).context("prctl(PR_SET_TIMERSLACK)")?;
        let interval = Duration::from_millis(self.interval_ms);
        let kind = Kind::new(self.to, self.speech, interval, self.root.as_deref())?;
        let mut generator = Generator::new(kind, self.sessions)?;
        let orders = orders();
        let mut wanted = self.first;
        // Whether it is to be told when all are open, and until when the silenced may die.
        let (mut opening, mut dying) = (true, None);
        loop {
            generator.beat()?;
            if generator.connected() < wanted {
                generator.connect()?;
            } else if opening && generator.greeted()? {
                opening = false;
                tell(&Told::Open)?;
            } else {
                thread::sleep(generator.idle().min(LOOK));
            }
            if let Some(until) = dying {
                generator.bury()?;
                if generator.silent() == 0 || Instant::now() > until {
                    dying = None;
                    tell(&Told::Deaths(generator.deaths()))?;
                }
            }
            match orders.try_recv() {
                Ok(Order::Open) => (wanted, opening) = (self.sessions, true),
                Ok(Order::Count) => tell(&Told::Count(generator.count()))?,
                Ok(Order::Silence(count)) => {
                    generator.silence(count)?;
                    dying = Some(Instant::now() + generator.tolerance() + GRACE);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// The orders that come; it ends with stdin.
fn orders() -> Receiver<Order> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match Order::parse(&line) {
                Ok(order) if sender.send(order).is_ok() => {}
                Ok(_) => break,
                Err(error) => {
                    eprintln!("load: {error:#}");
                    break;
                }
            }
        }
    });
    receiver
}

fn tell(told: &Told) -> Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(told)?).context("write to stdout")
}
