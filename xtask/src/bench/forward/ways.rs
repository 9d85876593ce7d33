//! The ways to the far end.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::programs::beside_this;
use crate::bench::serve::lacks_verb;
use crate::bench::server::{Running, Server};
use crate::bench::usage;

/// Below the ports from which the kernel chooses; nobody else is in this namespace.
const HAPROXY_PORTS: [u16; 2] = [9_001, 9_002];
/// HAProxy doesn't say when it listens.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Direct,
    Haproxy,
    Deadpeer,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Direct, Self::Haproxy, Self::Deadpeer];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "HAProxy → HAProxy",
            Self::Deadpeer => "deadpeer connect → serve",
        }
    }

    /// Why there can't be such a way, if so.
    pub(super) fn absent(self, deadpeer: &Path) -> Option<String> {
        match self {
            Self::Direct => None,
            Self::Haproxy => haproxy_version().err().map(|error| format!("{error:#}")),
            Self::Deadpeer => lacks_verb(deadpeer, "serve").or_else(|| lacks_verb(deadpeer, "connect")),
        }
    }
}

/// A way that stands until this is dropped.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) kind: Kind,
    /// Where a client connects to.
    pub(super) entry: SocketAddr,
    servers: Vec<Server>,
    proxies: Vec<Running>,
}

/// What the deadpeer pair gets besides.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) serve: Vec<String>,
    pub(super) connect: Vec<String>,
}

impl Way {
    /// A way to `far`.
    pub(super) fn open(kind: Kind, far: SocketAddr, deadpeer: &Path, arguments: &Arguments) -> Result<Self> {
        let mut way = Self { kind, entry: far, servers: Vec::new(), proxies: Vec::new() };
        match kind {
            Kind::Direct => {}
            Kind::Haproxy => {
                // From the far end to this one: each has its next one already.
                for port in HAPROXY_PORTS {
                    way.proxies.push(haproxy(port, way.entry)?);
                    way.entry = (Ipv4Addr::LOCALHOST, port).into();
                }
                reachable(way.entry)?;
            }
            Kind::Deadpeer => {
                let mut serve = Command::new(deadpeer);
                serve.args(["serve", "--listen", "127.0.0.1:0", "--json"]);
                serve.arg("--forward").arg(far.to_string()).args(&arguments.serve);
                let serve = Server::start(&mut serve)?;
                let mut connect = Command::new(deadpeer);
                connect.arg("connect").arg(serve.address().to_string());
                connect.args(["--listen", "127.0.0.1:0", "--json"]).args(&arguments.connect);
                let connect = Server::start(&mut connect)?;
                way.entry = connect.address();
                way.servers.extend([serve, connect]);
            }
        }
        Ok(way)
    }

    /// The processor time of all its processes.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let pids = self.servers.iter().map(Server::pid).chain(self.proxies.iter().map(Running::pid));
        pids.map(usage::cpu).sum()
    }
}

/// What it is, with its version.
pub(super) fn haproxy_version() -> Result<String> {
    let output = Command::new("haproxy").arg("-v").output().context("start `haproxy` (Debian: haproxy)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// A plain TCP proxy: one thread, and the timeouts without which it warns.
fn haproxy(port: u16, to: SocketAddr) -> Result<Running> {
    let file = beside_this(&format!("bench-haproxy-{port}.cfg"))?;
    let text = format!(
        "global\n\tnbthread 1\n\tmaxconn 1000\n\
         defaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 1m\n\ttimeout server 1m\n\
         listen through\n\tbind 127.0.0.1:{port}\n\tserver next {to}\n"
    );
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Running::start(
        Command::new("haproxy").arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()),
    )
}

fn reachable(address: SocketAddr) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = TcpStream::connect(address) {
        if Instant::now() > until {
            bail!("nobody listens at {address} within {PATIENCE:?}: {error}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
