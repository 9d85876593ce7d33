//! `cargo xtask bench heartbeat`: the heartbeat's state machine, and the roster beside tokio's timers.

use std::hint::black_box;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as Clock};

use anyhow::Result;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use deadpeer_core::{Heartbeat, Instant, Roster, Timing};
use tokio_util::time::DelayQueue;

use super::bars::Bar;
use super::machine::Machine;
use super::optimised;
use super::order::shuffled;
use super::report::{Style, number, thousands};

const TOLERANCE: Duration = Duration::from_secs(30);
const PAIR_NANOS: f64 = 50.0;
const HEARTBEAT_BYTES: usize = 128;
const SEEN_NANOS: f64 = 10.0;
const ENTRY_BYTES: f64 = 16.0;

#[derive(Debug, Args)]
pub(crate) struct Beat {
    /// How many connections are watched
    #[arg(
        long,
        default_value_t = 1_000_000,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1_000..=10_000_000)
    )]
    entries: usize,
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    #[command(flatten)]
    style: Style,
}

/// Nanoseconds an operation: the median, the least and the most of all rounds.
#[derive(Debug, Clone, Copy)]
struct Cost([f64; 3]);

impl Cost {
    /// Measures `round`, which does `count` operations, `rounds` times after once to warm up.
    fn of(rounds: u32, count: usize, mut round: impl FnMut()) -> Self {
        round();
        let mut nanos: Vec<f64> = (0..rounds)
            .map(|_| {
                let start = Clock::now();
                round();
                start.elapsed().as_secs_f64() * 1e9 / count as f64
            })
            .collect();
        nanos.sort_unstable_by(f64::total_cmp);
        Self([nanos[nanos.len() / 2], nanos[0], nanos[nanos.len() - 1]])
    }

    fn median(self) -> f64 {
        self.0[0]
    }

    fn text(self) -> String {
        let [median, least, most] = self.0.map(number);
        format!("{median} ({least} – {most})")
    }
}

impl Beat {
    /// Measures, prints.
    pub(super) fn run(&self) -> Result<ExitCode> {
        if let Some(ended) = optimised::run_again()? {
            return Ok(ended);
        }
        self.style.print_title("heartbeat and roster");
        println!("{}", Machine::this());
        let pair = self.pair()?;
        let order = shuffled(self.entries);
        eprintln!("roster");
        let roster = self.roster(&order)?;
        eprintln!("tokio timers");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (queue, sleep) = runtime.block_on(async { (self.delay_queue(&order), self.sleeps(&order)) });
        self.print(pair, &roster, queue, sleep);
        Ok(ExitCode::SUCCESS)
    }

    /// Something heard, and what follows from it.
    fn pair(&self) -> Result<Cost> {
        const COUNT: usize = 1_000_000;
        let timing = Timing::new(Duration::from_secs(10), TOLERANCE)?;
        let mut heartbeat = Heartbeat::new(timing, 1, at(0));
        let mut now = 0;
        Ok(Cost::of(self.rounds, COUNT, || {
            for _ in 0..COUNT / 2 {
                now += 1_000_000;
                let now = at(now);
                heartbeat.handle_heard(black_box(now));
                black_box(heartbeat.poll(now));
                heartbeat.handle_sent(black_box(now));
                black_box(heartbeat.poll(now));
            }
        }))
    }

    fn roster(&self, order: &[u32]) -> Result<Watched> {
        let mut now = 0;
        let mut roster = Roster::new();
        let slots: Vec<_> = (0..self.entries).map(|_| roster.insert(TOLERANCE, at(now))).collect();
        let scattered: Vec<_> = order.iter().map(|&n| slots[n as usize]).collect();
        let seen = Cost::of(self.rounds, self.entries, || {
            now += 1_000_000;
            for &slot in &scattered {
                black_box(roster.seen(slot, at(black_box(now))));
            }
        });
        let sweep = Cost::of(self.rounds, self.entries, || {
            now += 1_000_000;
            roster.sweep(at(now), |slot, _| {
                black_box(slot);
            });
        });
        // All die, each at another moment of the next ten seconds; swept once a tick.
        let mut seen_at = vec![0; self.entries];
        for (n, slot) in slots.iter().enumerate() {
            seen_at[n] = now + 10_000_000_000 / self.entries as u64 * n as u64;
            roster.seen(*slot, at(seen_at[n]));
        }
        let (mut early, mut latest, mut deaths) = (0, 0, 0);
        while !roster.is_empty() {
            now += Roster::TICK.as_nanos() as u64;
            roster.sweep(at(now), |slot, _| {
                deaths += 1;
                let due = seen_at[slot.index()] + TOLERANCE.as_nanos() as u64;
                match now.checked_sub(due) {
                    Some(late) => latest = latest.max(late),
                    None => early += 1,
                }
            });
        }
        anyhow::ensure!(deaths == self.entries, "{deaths} deaths of {}", self.entries);
        Ok(Watched { seen, sweep, early, latest: Duration::from_nanos(latest) })
    }

    fn delay_queue(&self, order: &[u32]) -> Cost {
        let mut queue = DelayQueue::with_capacity(self.entries);
        let keys: Vec<_> = (0..self.entries).map(|n| queue.insert(n as u32, TOLERANCE)).collect();
        let scattered: Vec<_> = order.iter().map(|&n| keys[n as usize]).collect();
        let mut more = Duration::ZERO;
        Cost::of(self.rounds, self.entries, || {
            more += Duration::from_millis(1);
            for key in &scattered {
                queue.reset(key, TOLERANCE + more);
            }
        })
    }

    fn sleeps(&self, order: &[u32]) -> Cost {
        let mut sleeps: Vec<Pin<Box<tokio::time::Sleep>>> =
            (0..self.entries).map(|_| Box::pin(tokio::time::sleep(TOLERANCE))).collect();
        // Only one that was polled is in the wheel.
        let mut context = Context::from_waker(Waker::noop());
        for sleep in &mut sleeps {
            assert!(matches!(sleep.as_mut().poll(&mut context), Poll::Pending));
        }
        let mut more = Duration::ZERO;
        Cost::of(self.rounds, self.entries, || {
            more += Duration::from_millis(1);
            let until = tokio::time::Instant::now() + TOLERANCE + more;
            for &n in order {
                sleeps[n as usize].as_mut().reset(until);
            }
        })
    }

    fn print(&self, pair: Cost, roster: &Watched, queue: Cost, sleep: Cost) {
        let times = |cost: Cost| format!("{} ×", number(cost.median() / roster.seen.median()));
        let bytes = |bytes: usize| thousands(bytes);
        self.style.print_title(format_args!("{} connections watched", thousands(self.entries)));
        self.style.print_table(
            &["operation", "ns: median (min – max)", "beside the roster", "bytes each"],
            [
                vec!["Roster::seen".into(), roster.seen.text(), times(roster.seen), number(ENTRY)],
                vec!["DelayQueue::reset (tokio-util)".into(), queue.text(), times(queue), "–".into()],
                vec![
                    "Sleep::reset (tokio)".into(),
                    sleep.text(),
                    times(sleep),
                    bytes(size_of::<tokio::time::Sleep>()),
                ],
                vec!["Roster::sweep, an entry".into(), roster.sweep.text(), times(roster.sweep), "–".into()],
                vec![
                    "Heartbeat, a handle/poll pair".into(),
                    pair.text(),
                    times(pair),
                    bytes(size_of::<Heartbeat>()),
                ],
            ],
        );
        let pass = roster.sweep.median() * self.entries as f64 / 1e6;
        let period = Roster::TICK.as_secs_f64() * 1e3;
        println!(
            "\na sweep takes {} ms, {} % of a core at a tick of {} ms; the latest death came {} ms after its \
             due time, {} came early\n",
            number(pass),
            number(pass / period * 100.0),
            number(period),
            number(roster.latest.as_secs_f64() * 1e3),
            roster.early,
        );
        let bytes = size_of::<Heartbeat>() as f64;
        self.style.print_list([
            Bar::at_most("a handle/poll pair takes at most 50 ns", pair.median(), PAIR_NANOS, "ns"),
            Bar::at_most("a heartbeat has at most 128 bytes", bytes, HEARTBEAT_BYTES as f64, "bytes"),
            Bar::at_most("seen takes at most 10 ns", roster.seen.median(), SEEN_NANOS, "ns"),
            Bar::at_most("an entry has at most 16 bytes", ENTRY, ENTRY_BYTES, "bytes"),
            Bar::at_most(
                "deaths come out within a tick and a millisecond",
                roster.latest.as_secs_f64() * 1e3,
                period + MILLISECOND,
                "ms late",
            ),
            Bar::at_most("none comes out early", f64::from(roster.early), 0.0, "early"),
        ]);
    }
}

/// The bytes of an entry: when it was seen, its tolerance, its generation.
const ENTRY: f64 = 12.0;
/// Stamps are whole milliseconds.
const MILLISECOND: f64 = 1.0;

/// The moment so many nanoseconds after the origin.
fn at(nanos: u64) -> Instant {
    Instant::from_origin(Duration::from_nanos(nanos))
}

/// What the roster cost, and whether it was on time.
#[derive(Debug)]
struct Watched {
    seen: Cost,
    sweep: Cost,
    early: u32,
    latest: Duration,
}
