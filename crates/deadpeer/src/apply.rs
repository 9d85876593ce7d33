//! A policy, applied to a socket.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use deadpeer_core::{Policy, Protection, Unreachable};
use deadpeer_os::linux::settings::{self, Applied};
use deadpeer_os::linux::sysctl;

/// Plans `policy` for this system, applies it, and reads back what the kernel took.
///
/// `socket` is anything with a descriptor: std's, socket2's and tokio's streams and listeners. Sockets that
/// a listener accepts later inherit the settings from it; those that it has accepted already do not.
///
/// # Errors
/// [`ApplyError::Unreachable`] when no settings keep the policy here, [`ApplyError::Socket`] when the socket
/// takes none. What the kernel took otherwise than wanted is no error; it stands in [`Applied::gaps`].
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Duration;
/// use deadpeer::{Policy, apply};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let stream = TcpStream::connect(listener.local_addr()?)?;
/// let policy = Policy::detect(Duration::from_secs(30)).build()?;
/// let applied = apply(&stream, &policy)?;
/// let keepalive = applied.now.active_keepalive().expect("it is on");
/// assert!(keepalive.idle() < Duration::from_secs(30));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "SO_KEEPALIVE")]
#[doc(alias = "TCP_USER_TIMEOUT")]
pub fn apply(socket: &impl AsFd, policy: &Policy) -> Result<Applied, ApplyError> {
    let plan = policy.plan(&sysctl::platform()).map_err(ApplyError::Unreachable)?;
    settings::apply(socket.as_fd(), &plan.settings).map_err(ApplyError::Socket)
}

/// As [`apply`], but sets nothing on a socket that has the settings already: one that inherited them.
pub(crate) fn inherit(socket: &impl AsFd, policy: &Policy) -> Result<Applied, ApplyError> {
    let plan = policy.plan(&sysctl::platform()).map_err(ApplyError::Unreachable)?;
    match settings::read(socket.as_fd()) {
        Ok(now) if settings::has(&now, &plan.settings) => Ok(Applied { now, gaps: Vec::new() }),
        _ => settings::apply(socket.as_fd(), &plan.settings).map_err(ApplyError::Socket),
    }
}

/// Reads what a socket has set.
///
/// # Errors
/// Of getsockopt(2) with `SO_KEEPALIVE`: not a socket.
pub fn protection(socket: &impl AsFd) -> io::Result<Protection> {
    settings::read(socket.as_fd())
}

/// Why a policy could not be applied.
#[derive(Debug)]
#[non_exhaustive]
pub enum ApplyError {
    /// No settings keep the policy on this system.
    Unreachable(Unreachable),
    /// The socket takes no such settings.
    Socket(settings::Error),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(unreachable) => unreachable.fmt(f),
            Self::Socket(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ApplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(unreachable) => Some(unreachable),
            Self::Socket(error) => Some(error),
        }
    }
}
