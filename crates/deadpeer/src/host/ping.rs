//! Asking the same connections again and again, like ping(8).

use std::fmt;
use std::fs;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_core::{Answer, Asked, Known, Span, TcpState, Why};

use super::ask;
use super::connection::Connection;
use super::locks::Locks;
use super::pace::Pace;
use super::scan::{Scan, ScanError};

/// Connections whose peers are asked in rounds, one question each.
///
/// ```no_run
/// use std::sync::atomic::AtomicBool;
/// use deadpeer::host::{Filter, Ping};
///
/// let mut ping = Ping::new(Scan::new().filter(Filter::parse(["port:5432"])?), None)?;
/// ping.round(&AtomicBool::new(false), &mut |connection| {
///     println!("{}: {:?}", connection.row.peer, connection.facts().asked);
/// })?;
/// # use deadpeer::host::Scan;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Ping {
    connections: Vec<Connection>,
    interval: Duration,
    earlier: ask::Earlier,
    /// Before it, somebody would not answer, having answered just now.
    not_before: Instant,
}

impl Ping {
    /// Linux answers one empty segment in 500 ms for each connection (`tcp_invalid_ratelimit` in
    /// ip-sysctl.rst): closer questions would go unanswered by a living peer.
    #[doc(alias = "tcp_invalid_ratelimit")]
    pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(600);
    /// Without CAP_NET_ADMIN keepalive asks, which waits for a second of silence after the last answer.
    pub const SHORTEST_BORROWED: Duration = Duration::from_secs(2);

    /// The connections that `scan` finds, to be asked every `interval`; `None` for a second, or two without
    /// CAP_NET_ADMIN.
    ///
    /// # Errors
    /// [`PingError::TooFast`], or of the scan.
    pub fn new(scan: Scan<'_>, interval: Option<Duration>) -> Result<Self, PingError> {
        let borrowed = !has_net_admin();
        let least = if borrowed { Self::SHORTEST_BORROWED } else { Self::SHORTEST_INTERVAL };
        let interval = interval.unwrap_or(least.max(Duration::from_secs(1)));
        if interval < least {
            return Err(PingError::TooFast { interval, least, borrowed });
        }
        let report = scan.settings(false).run().map_err(PingError::Scan)?;
        let connections = report.into_connections();
        // Whoever was heard just now may have answered a question, of a run before.
        let heard = connections.iter().filter_map(|connection| connection.facts().last_heard.value()).min();
        let settled = Self::SHORTEST_INTERVAL.saturating_sub(heard.unwrap_or(Duration::MAX));
        let earlier = ask::Earlier::new();
        Ok(Self { connections, interval, earlier, not_before: Instant::now() + settled })
    }

    /// What is asked, in order, and what came of it so far.
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// From one question to the next.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether there is still somebody to ask.
    pub fn is_over(&self) -> bool {
        !self.connections.iter().any(can_be_asked)
    }

    /// Asks each peer once and waits for their answers: for the interval, or for as long as an answer takes on a path
    /// with a longer round trip. `tell` gets each connection when its question is answered, or when there is no more
    /// waiting; those that can't be asked get a reason. An answer that may belong to a question of a round before is
    /// told with a range of times. Waits first where somebody answered less than [`Ping::SHORTEST_INTERVAL`] ago.
    ///
    /// # Errors
    /// [`ScanError::Busy`] when another run is asking.
    pub fn round(&mut self, cancel: &AtomicBool, tell: &mut dyn FnMut(&Connection)) -> Result<(), ScanError> {
        let pace = Pace::default().timeout(self.interval).one_try();
        thread::sleep(self.not_before.saturating_duration_since(Instant::now()));
        let locks = Locks::take(&self.connections, cancel);
        if !locks.busy().is_empty() {
            return Err(ScanError::Busy);
        }
        for connection in &mut self.connections {
            connection.row.facts.asked = None;
            if connection.row.facts.state != TcpState::Established {
                connection.row.facts.asked = Some(Known::Not(Why::NotEstablished));
                tell(connection);
            }
        }
        let not_before = &mut self.not_before;
        let mut tell_all = |connection: &Connection| {
            if let Some(Known::Is(Asked { answer: Answer::Answered(time), .. })) = connection.facts().asked {
                let asked_at = Instant::now().checked_sub(time.most).unwrap_or(*not_before);
                *not_before = (*not_before).max(asked_at + Self::SHORTEST_INTERVAL);
            }
            tell(connection);
        };
        let earlier = &mut self.earlier;
        ask::ask(&mut self.connections, pace, cancel, &mut |_, _| (), &mut tell_all, earlier);
        Ok(())
    }
}

/// Neither closed nor refused for a reason that lasts.
fn can_be_asked(connection: &Connection) -> bool {
    let refused = match connection.row.facts.asked {
        Some(Known::Not(why)) => !matches!(why, Why::Interrupted | Why::Failed),
        _ => false,
    };
    connection.row.facts.state == TcpState::Established && !refused
}

/// CAP_NET_ADMIN among the effective capabilities: capabilities(7), proc_pid_status(5).
fn has_net_admin() -> bool {
    const CAP_NET_ADMIN: u32 = 12;
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> CAP_NET_ADMIN & 1 == 1)
}

/// Why there is nothing to ask.
#[derive(Debug)]
#[non_exhaustive]
pub enum PingError {
    /// Questions so close that living peers leave some unanswered.
    TooFast {
        /// What was wanted.
        interval: Duration,
        /// The least.
        least: Duration,
        /// Whether that is for want of CAP_NET_ADMIN.
        borrowed: bool,
    },
    /// The connections could not be listed.
    Scan(ScanError),
}

impl fmt::Display for PingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFast { interval, least, borrowed: false } => write!(
                f,
                "questions must be {} apart at least, not {}: Linux answers one empty segment in 500 ms \
                 (tcp_invalid_ratelimit), so closer ones make living peers look dead",
                Span(*least),
                Span(*interval)
            ),
            Self::TooFast { interval, least, borrowed: true } => write!(
                f,
                "without CAP_NET_ADMIN questions must be {} apart at least, not {}: keepalive asks then, \
                 which waits for a second of silence (try sudo)",
                Span(*least),
                Span(*interval)
            ),
            Self::Scan(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooFast { .. } => None,
            Self::Scan(error) => Some(error),
        }
    }
}
