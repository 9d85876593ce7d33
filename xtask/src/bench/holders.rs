//! The processes that hold the connections of a benchmark: one alone may not have enough descriptors.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::hold::{LISTENING, READY, capacity};

/// Below the ports from which the kernel chooses for the other ends.
const PORT: u16 = 10_000;

/// Established, idle connections over loopback, each with both its ends in this namespace.
///
/// They are closed, and the processes that hold them gone, when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Holders {
    all: Vec<Holder>,
    connections: usize,
    addresses: u16,
}

impl Holders {
    /// Opens connections until there are `total`.
    pub(super) fn grow_to(&mut self, total: usize) -> Result<()> {
        while self.connections < total {
            self.open((total - self.connections).min(capacity()), 1)?;
        }
        // Not before all are started: they open their connections side by side.
        self.expect_ready()
    }

    /// Opens `connections` whose connecting ends are in one process, the others in `peers` processes.
    ///
    /// Gives the number of the one process.
    pub(super) fn fan_out(&mut self, connections: usize, peers: usize) -> Result<u32> {
        if connections > capacity() {
            bail!(
                "one process can hold {} connections here, not {connections}: raise its limit of \
                 descriptors (`ulimit -Hn`) or ask for fewer",
                capacity()
            );
        }
        let pid = self.open(connections.div_ceil(peers), peers)?;
        self.expect_ready()?;
        Ok(pid)
    }

    /// Fails if some of the connections are gone: then what was measured meanwhile means nothing.
    pub(super) fn check(&mut self) -> Result<()> {
        for holder in &mut self.all {
            if let Some(status) = holder.process.try_wait().context("look after the holders")? {
                bail!("{holder} ended too soon ({status}): was it killed, for want of memory perhaps?");
            }
        }
        Ok(())
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    /// Starts a process that connects `each` times to each of `peers` others, and gives its number.
    fn open(&mut self, each: usize, peers: usize) -> Result<u32> {
        let addresses: Vec<_> = (0..peers).map(|_| self.new_address()).collect();
        for address in &addresses {
            self.start("accept", each, &[*address])?.expect(LISTENING)?;
        }
        let pid = self.start("connect", each, &addresses)?.process.id();
        self.connections += each * peers;
        Ok(pid)
    }

    fn start(&mut self, how: &str, count: usize, addresses: &[SocketAddrV4]) -> Result<&mut Holder> {
        self.all.push(Holder::start(how, count, addresses)?);
        self.all.last_mut().context("no holder")
    }

    /// Waits until all connections are open.
    fn expect_ready(&mut self) -> Result<()> {
        // Who connects was started last, and is to be heard before those who accept: should it end too
        // soon, they would wait for ever, whereas their end fails its connect(2).
        self.all.iter_mut().rev().try_for_each(|holder| holder.expect(READY))
    }

    /// An address for each listener: the ports of one wouldn't do for all connections.
    fn new_address(&mut self) -> SocketAddrV4 {
        self.addresses += 1;
        let [high, low] = self.addresses.to_be_bytes();
        SocketAddrV4::new(Ipv4Addr::new(127, 1, high, low), PORT)
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        // All are killed before the first is waited for: closing many sockets takes a while.
        for holder in &mut self.all {
            // It can only have ended by itself, which is as good.
            let _ = holder.process.kill();
        }
        for holder in &mut self.all {
            let _ = holder.process.wait();
        }
    }
}

/// A process that runs [`Hold`](super::hold::Hold).
#[derive(Debug)]
struct Holder {
    process: Child,
    /// What it says; nothing any more after [`READY`].
    words: Option<BufReader<ChildStdout>>,
}

impl Holder {
    fn start(how: &str, count: usize, addresses: &[SocketAddrV4]) -> Result<Self> {
        // Not by its path, where a newer build may be by now.
        let mut process = Command::new("/proc/self/exe")
            .args(["bench", "hold", how, &count.to_string()])
            .args(addresses.iter().map(SocketAddrV4::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a process that holds connections")?;
        let words = process.stdout.take().map(BufReader::new);
        Ok(Self { process, words })
    }

    /// Waits until it has said `word`.
    fn expect(&mut self, word: &str) -> Result<()> {
        let Some(words) = &mut self.words else { return Ok(()) };
        let mut line = String::new();
        words.read_line(&mut line).context("read from a process that holds connections")?;
        if line.trim_end() != word {
            let status = self.process.wait().context("wait for a process that holds connections")?;
            bail!("{self} ended before it was {word} ({status}); what it wrote above says why");
        }
        if word == READY {
            self.words = None;
        }
        Ok(())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}, which holds connections,", self.process.id())
    }
}
