//! The servers that are measured, and how each is built and started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::client::Speech;
use super::{Pace, TOLERATED};
use crate::bench::programs::{beside_this, compile};

/// The server of the negotiated schedule wants to beat no more often.
const BEAT_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Contestant {
    /// The bare C epoll loop
    Epoll,
    /// Naive tokio
    Tokio,
    /// Go with SetReadDeadline
    Go,
    /// A session of the library per connection
    Session,
    /// `deadpeer serve`, every heartbeat answered
    Answered,
    /// `deadpeer serve`, the negotiated schedule
    Negotiated,
    /// `deadpeer serve` with TLS
    Tls,
}

impl Contestant {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Epoll => "C, epoll, time stamps in an array",
            Self::Tokio => "tokio, a task each, timeout around read",
            Self::Go => "Go, SetReadDeadline",
            Self::Session => "deadpeer::session::tokio, a session each",
            Self::Answered => "deadpeer serve, every heartbeat answered",
            Self::Negotiated => "deadpeer serve, negotiated (--beat-every 60s)",
            Self::Tls => "deadpeer serve, TLS",
        }
    }

    pub(super) fn speech(self) -> Speech {
        match self {
            Self::Epoll | Self::Tokio | Self::Go => Speech::Byte,
            Self::Session | Self::Answered | Self::Tls => Speech::Ping,
            Self::Negotiated => Speech::Beat,
        }
    }

    /// Whether it is the command.
    pub(super) fn is_command(self) -> bool {
        matches!(self, Self::Answered | Self::Negotiated | Self::Tls)
    }
}

/// What the servers are started with.
#[derive(Debug)]
pub(super) struct Arena {
    deadpeer: PathBuf,
    epoll: PathBuf,
    /// Without Go there is none.
    go: Option<PathBuf>,
    certificate: PathBuf,
    key: PathBuf,
    /// What `deadpeer serve` gets besides.
    arguments: Vec<String>,
}

impl Arena {
    /// Builds the rivals, and makes a certificate.
    pub(super) fn build(deadpeer: &Path, arguments: Vec<String>) -> Result<Self> {
        let certificate = beside_this("bench-certificate.pem")?;
        let key = beside_this("bench-key.pem")?;
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        fs::write(&certificate, made.cert.pem()).context("write the certificate")?;
        fs::write(&key, made.signing_key.serialize_pem()).context("write its key")?;
        Ok(Self {
            deadpeer: deadpeer.to_owned(),
            epoll: compile("src/bench/serve/rivals/epoll.c", "bench-epoll")?,
            go: build_go()?,
            certificate,
            key,
            arguments,
        })
    }

    /// Why a contestant can't take part, if so.
    pub(super) fn absent(&self, contestant: Contestant) -> Option<String> {
        match contestant {
            Contestant::Go if self.go.is_none() => Some("there is no Go here (Debian: golang-go)".into()),
            _ if contestant.is_command() => lacks_verb(&self.deadpeer, "serve"),
            _ => None,
        }
    }

    pub(super) fn command(&self, contestant: Contestant, pace: Pace) -> Result<Command> {
        let tolerance = pace.interval * TOLERATED;
        let [tolerance_ms, beat_ms] = [tolerance, BEAT_EVERY].map(|time| time.as_millis().to_string());
        let program = match contestant {
            Contestant::Epoll => &self.epoll,
            Contestant::Go => self.go.as_ref().context("Go was not built")?,
            Contestant::Tokio | Contestant::Session => Path::new("/proc/self/exe"),
            _ => &self.deadpeer,
        };
        let mut command = Command::new(program);
        match contestant {
            Contestant::Epoll | Contestant::Go => command.arg(tolerance_ms),
            Contestant::Tokio => command.args(["bench", "rival", "tokio", &tolerance_ms]),
            Contestant::Session => command.args(["bench", "rival", "session", &tolerance_ms, &beat_ms]),
            _ => {
                command.args(["serve", "--listen", "127.0.0.1:0", "--json", "--max-sessions", "20000"]);
                // A policy must leave time to survive an outage: the sixth part, as of 30 s the default.
                command.arg("--detect").arg(format!("{}ms", tolerance.as_millis()));
                command.arg("--survive").arg(format!("{}ms", (tolerance / 6).as_millis()));
                command.args(&self.arguments)
            }
        };
        if contestant == Contestant::Negotiated {
            command.arg("--beat-every").arg(format!("{}s", BEAT_EVERY.as_secs()));
        }
        if let Some(certificate) = self.certificate(contestant) {
            command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(&self.key);
        }
        Ok(command)
    }

    /// Of a server that speaks TLS.
    pub(super) fn certificate(&self, contestant: Contestant) -> Option<&Path> {
        (contestant == Contestant::Tls).then_some(&self.certificate)
    }
}

/// Why a build of the command can't be measured: it has no such verb.
pub(in crate::bench) fn lacks_verb(deadpeer: &Path, verb: &str) -> Option<String> {
    let help =
        Command::new(deadpeer).args([verb, "--help"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match help {
        Ok(status) if status.success() => None,
        Ok(_) => Some(format!("{} has no verb `{verb}`", deadpeer.display())),
        Err(error) => Some(format!("{} can't be started: {error}", deadpeer.display())),
    }
}

/// `None` if there is no Go.
fn build_go() -> Result<Option<PathBuf>> {
    if !Command::new("go").arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    {
        return Ok(None);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/serve/rivals/deadline.go");
    let program = beside_this("bench-deadline")?;
    let status = Command::new("go")
        .arg("build")
        .arg("-o")
        .args([&program, &source])
        // In the target directory, and without a network: it needs nothing but its standard library.
        .env("GOCACHE", beside_this("bench-go-cache")?)
        .env("GO111MODULE", "off")
        .status()
        .context("start `go build`")?;
    anyhow::ensure!(status.success(), "`go build` could not compile {}", source.display());
    Ok(Some(program))
}
