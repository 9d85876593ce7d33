//! A policy, applied to a socket.

use std::fmt;
use std::io;

use deadpeer_core::{Policy, Protection, Settings, Unreachable};
use deadpeer_os::AsSock;
use deadpeer_os::current::platform;
use deadpeer_os::current::settings::{self, Applied};

/// Plans `policy` for this system, applies it, and reads back what the kernel took.
///
/// `socket` is anything with a descriptor (on Windows, with a socket handle): std's, socket2's and tokio's
/// streams and listeners. Sockets that a listener accepts later inherit the settings from it; those that it
/// has accepted already do not. Windows does not promise that: there, give each accepted socket the policy
/// ([`guard`](crate::guard()) does so where it is missing).
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
pub fn apply(socket: &impl AsSock, policy: &Policy) -> Result<Applied, ApplyError> {
    let plan = policy.plan(&platform()).map_err(ApplyError::Unreachable)?;
    settings::apply(socket.as_sock(), &plan.settings).map_err(ApplyError::Socket)
}

/// Sets exactly `settings` on a socket, and reads back what the kernel took: for those who chose them without
/// a policy.
///
/// # Errors
/// [`ApplyError::Socket`] when the socket takes none of them.
pub fn apply_settings(socket: &impl AsSock, settings: &Settings) -> Result<Applied, ApplyError> {
    settings::apply(socket.as_sock(), settings).map_err(ApplyError::Socket)
}

/// As [`apply`], but sets nothing on a socket that has the settings already: one that inherited them.
pub(crate) fn inherit(socket: &impl AsSock, policy: &Policy) -> Result<Applied, ApplyError> {
    let plan = policy.plan(&platform()).map_err(ApplyError::Unreachable)?;
    match settings::read(socket.as_sock()) {
        Ok(now) if settings::has(&now, &plan.settings) => Ok(Applied { now, gaps: Vec::new() }),
        _ => settings::apply(socket.as_sock(), &plan.settings).map_err(ApplyError::Socket),
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
