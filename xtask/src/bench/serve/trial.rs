//! One server under one load.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use super::Pace;
use super::contestants::{Arena, Contestant};
use super::load::{Count, Deaths, Order, Told};
use crate::bench::server::Server;
use crate::bench::usage;

/// What happens after an interval has passed in which every session has beaten once.
const SETTLE: Duration = Duration::from_millis(500);
/// A report may come so long after the end of the connection that it is about.
const REPORT: Duration = Duration::from_secs(1);

/// What was measured.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    /// Seconds of processor time per million heartbeats.
    pub(super) cpu: f64,
    /// Resident bytes per session.
    pub(super) bytes: f64,
    /// What came back per heartbeat.
    pub(super) answers: f64,
    /// How late the latest heartbeat was sent.
    pub(super) behind: Duration,
    pub(super) deaths: Deaths,
    /// How many deaths the server has reported.
    pub(super) reported: usize,
}

/// How it is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Procedure {
    pub(super) pace: Pace,
    pub(super) window: Duration,
    /// So many sessions fall silent at the end.
    pub(super) silenced: usize,
}

impl Procedure {
    /// Starts the server and measures it.
    pub(super) fn measure(self, contestant: Contestant, arena: &Arena) -> Result<Trial> {
        let Pace { sessions, interval } = self.pace;
        let mut server = Server::start(&mut arena.command(contestant, self.pace)?)?;
        // The first of them bring in what the server has only once, its code above all.
        let first = (sessions / 10).min(200);
        let mut load = LoadProcess::start(&server, contestant, arena, self.pace, first)?;
        load.expect_open()?;
        thread::sleep(interval + SETTLE);
        let resident_before = usage::resident(server.pid())?;
        load.order(Order::Open)?;
        load.expect_open()?;
        thread::sleep(interval + SETTLE);

        let cpu_before = usage::cpu(server.pid())?;
        let count_before = load.count()?;
        thread::sleep(self.window);
        let cpu = usage::cpu(server.pid())? - cpu_before;
        let count = load.count()?;
        let resident = usage::resident(server.pid())?;
        server.check()?;
        ensure!(
            count.lost == 0,
            "the server closed {} sessions that were alive: what it took means nothing",
            count.lost
        );
        let sent = count.sent - count_before.sent;
        ensure!(sent > 0, "no heartbeat was sent");

        let deaths = load.silence(self.silenced)?;
        let lost = load.count()?.lost;
        ensure!(lost == 0, "the server closed {lost} sessions that were not silent");
        Ok(Trial {
            cpu: cpu.as_secs_f64() / sent as f64 * 1e6,
            bytes: (resident as f64 - resident_before as f64) / (sessions - first) as f64,
            answers: (count.answers - count_before.answers) as f64 / sent as f64,
            behind: Duration::from_micros(count.behind_us),
            reported: reported(&server, deaths.late_ms.len()),
            deaths,
        })
    }
}

/// How many deaths it has reported, once all should be.
fn reported(server: &Server, expected: usize) -> usize {
    let until = Instant::now() + REPORT;
    while server.died() < expected && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    server.died()
}

/// The process that beats.
#[derive(Debug)]
struct LoadProcess {
    process: Child,
    orders: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl LoadProcess {
    fn start(
        server: &Server,
        contestant: Contestant,
        arena: &Arena,
        pace: Pace,
        first: usize,
    ) -> Result<Self> {
        let speech = contestant.speech().to_possible_value().context("no name")?;
        let mut command = Command::new("/proc/self/exe");
        command.args(["bench", "load", "--speech", speech.get_name()]);
        command.args(["--to", &server.address().to_string(), "--sessions", &pace.sessions.to_string()]);
        command.args(["--first", &first.to_string()]);
        command.args(["--interval-ms", &pace.interval.as_millis().to_string()]);
        if let Some(certificate) = arena.certificate(contestant) {
            command.arg("--root").arg(certificate);
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the load generator")?;
        let orders = process.stdin.take().context("no stdin")?;
        let told = BufReader::new(process.stdout.take().context("no stdout")?);
        Ok(Self { process, orders, told })
    }

    fn order(&mut self, order: Order) -> Result<()> {
        writeln!(self.orders, "{}", order.line()).context("write to the load generator")
    }

    fn told(&mut self) -> Result<Told> {
        let mut line = String::new();
        self.told.read_line(&mut line).context("read from the load generator")?;
        if line.is_empty() {
            let status = self.process.wait().context("wait for the load generator")?;
            bail!("the load generator ended ({status}); what it wrote above says why");
        }
        serde_json::from_str(&line).with_context(|| format!("the load generator said {line:?}"))
    }

    fn expect_open(&mut self) -> Result<()> {
        match self.told()? {
            Told::Open => Ok(()),
            other => bail!("the load generator said {other:?}"),
        }
    }

    fn count(&mut self) -> Result<Count> {
        self.order(Order::Count)?;
        match self.told()? {
            Told::Count(count) => Ok(count),
            other => bail!("the load generator said {other:?}"),
        }
    }

    fn silence(&mut self, count: usize) -> Result<Deaths> {
        self.order(Order::Silence(count))?;
        match self.told()? {
            Told::Deaths(deaths) => Ok(deaths),
            other => bail!("the load generator said {other:?}"),
        }
    }
}

impl Drop for LoadProcess {
    fn drop(&mut self) {
        // It can only have ended by itself, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
