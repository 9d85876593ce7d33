//! The client: as many messages as go through, or one at a time to and fro.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

/// What the first byte of a connection asks of the far end.
pub(super) const SWALLOW: u8 = 0;
pub(super) const ECHO: u8 = 1;
/// The bytes of a message of the bulk, and of one that goes to and fro.
pub(super) const MESSAGE: usize = 64 << 10;
pub(super) const SMALL: usize = 64;

/// What stands still for so long fails.
const STUCK: Duration = Duration::from_secs(20);
/// So many round trips come before those that count.
const WARM: usize = 1_000;

fn connect(to: SocketAddr, how: u8) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(to).with_context(|| format!("connect to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STUCK))?;
    stream.set_write_timeout(Some(STUCK))?;
    stream.write_all(&[how]).with_context(|| format!("write to {to}"))?;
    Ok(stream)
}

/// Bytes a second over all `connections`: sent for so long, and until the far end has them all.
pub(super) fn throughput(to: SocketAddr, connections: usize, lasting: Duration) -> Result<Bulk> {
    let streams = (0..connections).map(|_| connect(to, SWALLOW)).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let sent: Vec<Result<u64>> = thread::scope(|scope| {
        let senders: Vec<_> =
            streams.into_iter().map(|stream| scope.spawn(move || send(stream, started + lasting))).collect();
        senders.into_iter().map(|one| one.join().map_err(|_| anyhow!("a sender panicked"))?).collect()
    });
    let elapsed = started.elapsed();
    Ok(Bulk { bytes: sent.into_iter().sum::<Result<u64>>()?, elapsed })
}

/// What went through, and in which time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bulk {
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
}

impl Bulk {
    /// Megabytes a second.
    pub(super) fn speed(self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64()
    }
}

fn send(mut stream: TcpStream, until: Instant) -> Result<u64> {
    let message = vec![7; MESSAGE];
    let mut sent = 0;
    while Instant::now() < until {
        stream.write_all(&message).context("send a message")?;
        sent += message.len() as u64;
    }
    stream.shutdown(std::net::Shutdown::Write).context("end the messages")?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived).context("hear how much has arrived after all was sent")?;
    let arrived = u64::from_be_bytes(arrived);
    ensure!(arrived == sent, "{sent} bytes were sent, {arrived} have arrived");
    Ok(sent)
}

/// The median and the 99th percentile of the round trips of a small message, in microseconds.
pub(super) fn round_trips(to: SocketAddr, count: usize) -> Result<[f64; 2]> {
    let mut stream = connect(to, ECHO)?;
    let (message, mut echo) = ([7; SMALL], [0; SMALL]);
    let mut times = Vec::with_capacity(count);
    for round in 0..WARM + count {
        let sent = Instant::now();
        stream.write_all(&message).context("send a message")?;
        stream.read_exact(&mut echo).context("read its echo")?;
        if round >= WARM {
            times.push(sent.elapsed().as_secs_f64() * 1e6);
        }
    }
    times.sort_unstable_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied().context("no round trips");
    Ok([at(50)?, at(99)?])
}
