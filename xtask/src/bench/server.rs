//! A server that is measured: it runs until it is dropped, and says where it listens.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

/// It has this long to say where it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn().with_context(|| format!("start {command:?}"))?))
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Fails if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.0.try_wait().context("look after a server")? {
            Some(status) => bail!("it ended too soon ({status}); what it wrote above says why"),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It can only have ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that prints what happens as lines of JSON, first of all `{"event":"listening","address":…}`.
#[derive(Debug)]
pub(super) struct Server {
    process: Running,
    address: SocketAddr,
    died: Arc<AtomicUsize>,
}

/// What is of interest of a line.
#[derive(Debug, Deserialize)]
struct Line {
    event: String,
    address: Option<String>,
}

impl Server {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let what = format!("{command:?}");
        let mut process = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let stdout = process.0.stdout.take().context("no stdout")?;
        let died = Arc::new(AtomicUsize::new(0));
        let (tell, told) = mpsc::channel();
        let count = Arc::clone(&died);
        // Until its end: who prints into a full pipe stands still.
        thread::spawn(move || follow(stdout, &tell, &count));
        let address = match told.recv_timeout(PATIENCE) {
            Ok(address) => address,
            Err(RecvTimeoutError::Timeout) => {
                bail!("{what} did not say where it listens within {PATIENCE:?}")
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = process.0.wait().context("wait for a server")?;
                bail!("{what} ended before it listened ({status}); what it wrote above says why")
            }
        };
        let address = address.parse().map_err(|_| anyhow!("{what} listens at {address:?}: no address"))?;
        Ok(Self { process, address, died })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Fails if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// How many deaths it has reported.
    pub(super) fn died(&self) -> usize {
        self.died.load(Ordering::Relaxed)
    }
}

fn follow(stdout: ChildStdout, listening: &Sender<String>, died: &AtomicUsize) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Line { event, address: Some(address) }) if event == "listening" => {
                // Nobody waits for a second one.
                let _ = listening.send(address);
            }
            Ok(Line { event, .. }) if event == "died" => {
                died.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}
