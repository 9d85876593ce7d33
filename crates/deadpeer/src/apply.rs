//! A policy, applied to a socket.

use std::fmt;
use std::io;
use std::time::Duration;

use deadpeer_core::{Concern, Known, Policy, Protection, Set, Settings, Span, Unreachable, shortfalls};
use deadpeer_os::AsSock;
use deadpeer_os::current::platform;
use deadpeer_os::current::settings::{self, Gap};

/// What a socket has after a policy or settings were applied.
#[derive(Debug)]
#[must_use = "what the system did not take stands in `gaps`, and what it can't keep in `shortfalls`"]
pub struct Applied {
    /// What was read back. Where Windows has no call for that (before 1709), what its `SIO_KEEPALIVE_VALS`
    /// said yes to.
    pub now: Protection,
    /// Where that differs from what was to be set.
    pub gaps: Vec<Gap>,
    /// Where it keeps less than the policy wants. Of [`apply()`] only a policy of
    /// [`best_effort`](deadpeer_core::PolicyBuilder::best_effort) gets here with any; [`apply_settings`] has no
    /// policy to compare with.
    pub shortfalls: Vec<Concern>,
}

impl Applied {
    /// A socket to which nothing was applied.
    pub(crate) fn as_it_is(socket: &impl AsSock) -> io::Result<Self> {
        Ok(Self { now: protection(socket)?, gaps: Vec::new(), shortfalls: Vec::new() })
    }
}

impl From<settings::Applied> for Applied {
    fn from(applied: settings::Applied) -> Self {
        Self { now: applied.now, gaps: applied.gaps, shortfalls: Vec::new() }
    }
}

/// Plans `policy` for this system, applies it, reads back what the kernel took, and compares what that keeps with
/// the policy.
///
/// `socket` is anything with a descriptor (on Windows, with a socket handle): std's, socket2's and tokio's
/// streams and listeners. Sockets that a listener accepts later inherit the settings from it; those that it
/// has accepted already do not. Windows does not promise that: there, give each accepted socket the policy
/// ([`guard`](crate::guard()) does so where it is missing).
///
/// # Errors
/// [`ApplyError::Unreachable`] when no settings keep the policy here, [`ApplyError::Socket`] when the socket
/// takes none, [`ApplyError::Shortfall`] when what the socket has now keeps less than the policy wants: the
/// settings stay, and the error holds them. A policy of
/// [`best_effort`](deadpeer_core::PolicyBuilder::best_effort) gets them without an error. What the kernel took
/// otherwise than wanted is no error as long as the policy is kept; it stands in [`Applied::gaps`].
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Duration;
/// use deadpeer::{ApplyError, Policy, apply};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let stream = TcpStream::connect(listener.local_addr()?)?;
/// let policy = Policy::detect(Duration::from_secs(30)).build()?;
/// let applied = apply(&stream, &policy)?;
/// let keepalive = applied.now.active_keepalive().expect("it is on");
/// assert!(keepalive.idle() < Duration::from_secs(30));
///
/// # #[cfg(target_os = "linux")] // another system has other bounds
/// # {
/// // A slow reader may live, so nothing bounds data in flight: that is no 30 s.
/// let spared = Policy::detect(Duration::from_secs(30)).slow_readers(true);
/// let error = apply(&stream, &spared.clone().build()?).unwrap_err();
/// assert!(matches!(error, ApplyError::Shortfall(_)));
/// let applied = apply(&stream, &spared.best_effort(true).build()?)?;
/// assert_eq!(applied.shortfalls[0].kind(), "in-flight-too-late");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "SO_KEEPALIVE")]
#[doc(alias = "TCP_USER_TIMEOUT")]
pub fn apply(socket: &impl AsSock, policy: &Policy) -> Result<Applied, ApplyError> {
    let plan = policy.plan(&platform()).map_err(ApplyError::Unreachable)?;
    let applied = settings::apply(socket.as_sock(), &plan.settings).map_err(ApplyError::Socket)?;
    compared(applied.into(), policy)
}

/// Sets exactly `settings` on a socket, and reads back what the kernel took: for those who chose them without
/// a policy.
///
/// # Errors
/// [`ApplyError::Socket`] when the socket takes none of them.
pub fn apply_settings(socket: &impl AsSock, settings: &Settings) -> Result<Applied, ApplyError> {
    Ok(settings::apply(socket.as_sock(), settings).map_err(ApplyError::Socket)?.into())
}

/// As [`apply`], but sets nothing on a socket that has the settings already: one that inherited them.
pub(crate) fn inherit(socket: &impl AsSock, policy: &Policy) -> Result<Applied, ApplyError> {
    let plan = policy.plan(&platform()).map_err(ApplyError::Unreachable)?;
    let applied = match settings::read(socket.as_sock()) {
        Ok(now) if settings::has(&now, &plan.settings) => settings::Applied { now, gaps: Vec::new() },
        _ => settings::apply(socket.as_sock(), &plan.settings).map_err(ApplyError::Socket)?,
    };
    compared(applied.into(), policy)
}

/// With what falls short of the policy.
fn compared(applied: Applied, policy: &Policy) -> Result<Applied, ApplyError> {
    let shortfalls = shortfalls(&applied.now, &platform(), policy);
    let applied = Applied { shortfalls, ..applied };
    match applied.shortfalls.is_empty() || policy.is_best_effort() {
        true => Ok(applied),
        false => Err(ApplyError::Shortfall(Box::new(Shortfall { applied, detect: policy.detection_time() }))),
    }
}

/// Puts a socket's RTO ceiling (`TCP_RTO_MAX_MS`) back to Linux' longest, 120 s. Call it before you close a socket
/// whose policy [accepts a ceiling](deadpeer_core::PolicyBuilder::accept_rto_ceiling); [`Guarded`](crate::Guarded)
/// does when it is dropped.
///
/// The kernel gives up a closed socket whose pauses have reached the ceiling, and with it what was written before
/// the close: in an outage of a few seconds, or while the peer reads nothing. Where a socket has no ceiling of its
/// own there is nothing to do.
///
/// # Errors
/// Of getsockopt and setsockopt: not a TCP socket.
pub fn before_close(socket: &impl AsSock) -> io::Result<()> {
    /// `TCP_RTO_MAX_SEC` (include/net/tcp.h).
    const LONGEST: Duration = Duration::from_secs(120);
    match protection(socket)?.rto_max {
        Known::Is(Some(ceiling)) if ceiling < LONGEST => {
            let settings = Settings { rto_max: Set::To(LONGEST), ..Settings::default() };
            let applied = settings::apply(socket.as_sock(), &settings).map_err(io::Error::other)?;
            match applied.gaps.into_iter().find_map(|gap| gap.error) {
                Some(error) => Err(error),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Reads what a socket has set.
///
/// # Errors
/// Of getsockopt with `SO_KEEPALIVE`: not a socket.
pub fn protection(socket: &impl AsSock) -> io::Result<Protection> {
    settings::read(socket.as_sock())
}

/// Why a policy could not be applied.
#[derive(Debug)]
#[non_exhaustive]
pub enum ApplyError {
    /// No settings keep the policy on this system.
    Unreachable(Unreachable),
    /// The socket takes no such settings.
    Socket(settings::Error),
    /// The socket has the best settings that this system has, and they keep less than the policy wants.
    Shortfall(Box<Shortfall>),
}

/// What a socket has, and where that keeps less than the policy wants.
#[derive(Debug)]
#[non_exhaustive]
pub struct Shortfall {
    /// What the socket has now; [`Applied::shortfalls`] is not empty.
    pub applied: Applied,
    /// The detection time of the policy.
    pub detect: Duration,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this socket does not keep a policy of {}.", Span(self.detect))?;
        for concern in &self.applied.shortfalls {
            write!(f, " {concern}")?;
        }
        for gap in &self.applied.gaps {
            write!(f, " {gap}.")?;
        }
        f.write_str(" Its settings are the best that this system has: a policy of best effort accepts them.")
    }
}

impl std::error::Error for Shortfall {}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(unreachable) => unreachable.fmt(f),
            Self::Socket(error) => error.fmt(f),
            Self::Shortfall(shortfall) => shortfall.fmt(f),
        }
    }
}

impl std::error::Error for ApplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(unreachable) => Some(unreachable),
            Self::Socket(error) => Some(error),
            Self::Shortfall(shortfall) => Some(shortfall),
        }
    }
}
