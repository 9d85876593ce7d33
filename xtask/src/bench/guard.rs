//! What guarding costs: the same messages over a bare stream and over a guarded one, in turns.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use deadpeer::{Guarded, Policy, guard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bars::Bar;
use super::machine::Machine;
use super::report::{Style, number, thousands};

/// A guarded stream may take this many times the time of a bare one.
const MOST: f64 = 1.02;
/// The bytes of one transfer.
const TRANSFER: usize = 32 << 20;

/// `cargo xtask bench guard`
#[derive(Debug, clap::Args)]
pub(crate) struct Guard {
    /// How often each stream is measured
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    style: Style,
}

impl Guard {
    pub(super) fn run(&self) -> Result<ExitCode> {
        self.style.print_title("Guarded streams beside bare ones");
        println!("{}", Machine::this());
        let mut rows = Vec::new();
        let mut bars = Vec::new();
        for (name, transfer) in [("std", std_transfer as Transfer), ("tokio", tokio_transfer)] {
            for size in [1 << 10, 64 << 10] {
                let [bare, guarded, ratio] = self.measure(transfer, size)?;
                let speed = |seconds: f64| number(TRANSFER as f64 / seconds / 1e6);
                let what = format!("{name}, messages of {} bytes", thousands(size));
                rows.push(vec![what.clone(), speed(bare), speed(guarded), format!("{ratio:.3}")]);
                bars.push(Bar::at_most(
                    format!("{what}: guarded takes at most {MOST} times the time"),
                    ratio,
                    MOST,
                    "times",
                ));
            }
        }
        self.style.print_table(&["stream", "bare, MB/s", "guarded, MB/s", "time: guarded / bare"], rows);
        self.style.print_title("Bars");
        self.style.print_list(bars);
        Ok(ExitCode::SUCCESS)
    }

    /// The median times, bare and guarded, and the median of the ratios of those that followed each other.
    ///
    /// The two take turns, each now first and now second: what disturbs the machine for longer than one
    /// transfer meets both, and falls out of their ratio.
    fn measure(&self, transfer: Transfer, size: usize) -> Result<[f64; 3]> {
        let mut samples = [const { Vec::new() }; 3];
        for round in 0..self.rounds {
            let guarded_first = round % 2 == 0;
            let one = transfer(size, guarded_first)?.as_secs_f64();
            let other = transfer(size, !guarded_first)?.as_secs_f64();
            let [bare, guarded] = if guarded_first { [other, one] } else { [one, other] };
            for (samples, value) in samples.iter_mut().zip([bare, guarded, guarded / bare]) {
                samples.push(value);
            }
        }
        Ok(samples.map(|mut values| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        }))
    }
}

/// Sends [`TRANSFER`] bytes in messages of a size, over bare or guarded streams on both ends.
type Transfer = fn(usize, bool) -> Result<Duration>;

fn connected() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
    let client = TcpStream::connect(listener.local_addr()?).context("connect on loopback")?;
    Ok((client, listener.accept().context("accept")?.0))
}

fn policy() -> Result<Policy> {
    Ok(Policy::detect(Duration::from_secs(30)).survive(Duration::from_secs(5)).build()?)
}

fn std_transfer(size: usize, guarded: bool) -> Result<Duration> {
    fn run(mut from: impl Write + Send, mut to: impl Read, size: usize) -> Result<Duration> {
        let started = Instant::now();
        thread::scope(|scope| {
            let writer = scope.spawn(move || -> std::io::Result<()> {
                let message = vec![7; size];
                (0..TRANSFER / size).try_for_each(|_| from.write_all(&message))
            });
            let mut message = vec![0; size];
            (0..TRANSFER / size).try_for_each(|_| to.read_exact(&mut message))?;
            writer.join().map_err(|_| anyhow!("the writer panicked"))??;
            Ok(started.elapsed())
        })
    }
    let (from, to) = connected()?;
    match guarded {
        false => run(from, to, size),
        true => run(guard(from, &policy()?)?, guard(to, &policy()?)?, size),
    }
}

fn tokio_transfer(size: usize, guarded: bool) -> Result<Duration> {
    async fn run<S>(mut from: S, mut to: S, size: usize) -> Result<Duration>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let started = Instant::now();
        let (message, mut received) = (vec![7; size], vec![0; size]);
        let write = async {
            for _ in 0..TRANSFER / size {
                from.write_all(&message).await?;
            }
            Ok(())
        };
        let read = async {
            for _ in 0..TRANSFER / size {
                to.read_exact(&mut received).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        tokio::try_join!(write, read)?;
        Ok(started.elapsed())
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (from, to) = connected()?;
        let stream = |stream: TcpStream| -> Result<tokio::net::TcpStream> {
            stream.set_nonblocking(true)?;
            Ok(tokio::net::TcpStream::from_std(stream)?)
        };
        let (from, to) = (stream(from)?, stream(to)?);
        match guarded {
            false => run(from, to, size).await,
            true => {
                let guarded = |stream| -> Result<Guarded<_>> { Ok(guard(stream, &policy()?)?) };
                run(guarded(from)?, guarded(to)?, size).await
            }
        }
    })
}
