//! Servers on tokio: as people write them, and with this library's sessions.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use deadpeer::AsSock;
use deadpeer::session::{Config, Offer, tokio::accept_over};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Serves until it is killed; prints where it listens.
#[derive(Debug, Subcommand)]
pub(crate) enum Rival {
    /// A task per connection with a timeout around each read
    Tokio { tolerance_ms: u64 },
    /// A session of this library per connection
    Session { tolerance_ms: u64, beat_every_ms: u64 },
}

impl Rival {
    pub(in crate::bench) fn run(&self) -> Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL)).context("prctl(PR_SET_PDEATHSIG)")?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on loopback")?;
        println!("{{\"event\":\"listening\",\"address\":\"{}\"}}", listener.local_addr()?);
        self.serve(listener)
    }

    /// Serves for ever.
    pub(super) fn serve(&self, listener: std::net::TcpListener) -> Result<()> {
        listener.set_nonblocking(true)?;
        // As `#[tokio::main]` does: a thread a core.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async { self.accept(TcpListener::from_std(listener)?).await })
    }

    async fn accept(&self, listener: TcpListener) -> Result<()> {
        loop {
            let (stream, _) = listener.accept().await.context("accept")?;
            match *self {
                Self::Tokio { tolerance_ms } => {
                    tokio::spawn(hear(stream, Duration::from_millis(tolerance_ms)));
                }
                Self::Session { tolerance_ms, beat_every_ms } => {
                    let offer = offer(tolerance_ms, beat_every_ms);
                    tokio::spawn(hold(stream, offer));
                }
            }
        }
    }
}

async fn hear(mut stream: TcpStream, tolerance: Duration) {
    let mut buffer = [0; 64];
    while let Ok(Ok(1..)) = timeout(tolerance, stream.read(&mut buffer)).await {
        if stream.write_all(&buffer[..1]).await.is_err() {
            break;
        }
    }
}

async fn hold(stream: TcpStream, offer: Offer) {
    let config = Config::new(offer);
    // A connection that does not greet is no client.
    let accepted = accept_over(stream, |stream| stream.as_sock(), &config, |_| Ok(())).await;
    if let Ok((session, driver)) = accepted {
        // A task that holds the session and drives it. This one was for the greeting, and ends.
        tokio::spawn(async move {
            let _ = driver.run().await;
            drop(session);
        });
    }
}

/// A third of the tolerance is the interval.
fn offer(tolerance_ms: u64, beat_every_ms: u64) -> Offer {
    let [patience, send] = [tolerance_ms, beat_every_ms].map(Duration::from_millis);
    Offer::new(send, patience / 3, patience)
}
