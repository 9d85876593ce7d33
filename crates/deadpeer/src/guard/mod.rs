//! Streams whose errors say why the peer is gone.

mod blocking;
mod end;
mod loss;
mod missed;
#[cfg(feature = "tokio")]
mod with_tokio;

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use deadpeer_core::Policy;
use deadpeer_os::AsSock;
use deadpeer_os::current::settings::{Applied, Gap};
use deadpeer_os::current::stream;

use crate::apply::{ApplyError, inherit};
pub(crate) use end::end;
pub use end::{is_lost, lost_within};
pub use loss::{Loss, Mechanism, PeerLost};
#[cfg(feature = "tokio")]
pub use with_tokio::lost;

/// Guards a stream: applies `policy` to it and makes its errors say why the peer is gone.
///
/// Reads and writes are the stream's own; only their errors, and the end of file after a loss, take another
/// way. It works for std's `TcpStream`, and for tokio's with the feature `tokio`.
///
/// A stream accepted by a listener to which [`apply`](crate::apply()) gave the same policy has inherited its
/// settings: that is verified, and nothing is set twice.
///
/// # Errors
/// As [`apply`](crate::apply()).
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Duration;
/// use deadpeer::{PeerLost, Policy, guard};
///
/// let policy = Policy::detect(Duration::from_secs(10)).survive(Duration::from_secs(2)).build()?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut stream = guard(TcpStream::connect(listener.local_addr()?)?, &policy)?;
/// stream.write_all(b"hello")?;
/// # drop(listener);
/// match stream.read(&mut [0; 64]) {
///     Ok(0) => println!("the peer closed"),
///     Ok(n) => println!("{n} bytes"),
///     Err(error) => match PeerLost::of(&error) {
///         Some(lost) => println!("gone: {lost}"), // "the peer reset the connection …"
///         None => return Err(error.into()),
///     },
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn guard<S: AsSock>(stream: S, policy: &Policy) -> Result<Guarded<S>, ApplyError> {
    let applied = inherit(&stream, policy)?;
    Ok(Guarded { inner: stream, applied, lost: OnceLock::new() })
}

/// As [`guard`]; where the kernel's settings can't keep the policy, because its units are too coarse for it,
/// errors are explained all the same.
pub(crate) fn guard_if_possible<S: AsSock>(stream: S, policy: &Policy) -> io::Result<Guarded<S>> {
    let applied = match inherit(&stream, policy) {
        Ok(applied) => applied,
        Err(ApplyError::Unreachable(_)) => {
            Applied { now: crate::apply::protection(&stream)?, gaps: Vec::new() }
        }
        Err(ApplyError::Socket(error)) => return Err(io::Error::other(error)),
    };
    Ok(Guarded { inner: stream, applied, lost: OnceLock::new() })
}

/// A stream whose errors carry a [`PeerLost`]. It is made by [`guard`].
///
/// - A clean end of file (FIN) stays `Ok(0)`.
/// - What had arrived before a loss is delivered before the loss is told.
/// - After a loss every further read tells it again: never a false end of file.
/// - EINTR and EAGAIN pass through untouched.
#[derive(Debug)]
pub struct Guarded<S> {
    inner: S,
    applied: Applied,
    /// The loss, once the kernel has told it: it tells each error once only.
    lost: OnceLock<PeerLost>,
}

impl<S> Guarded<S> {
    /// The stream.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The stream. Errors of what is done with it directly are not remembered here.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The stream, guarded by its settings still, but without explanations.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// What the kernel took otherwise than the policy wants.
    pub fn gaps(&self) -> &[Gap] {
        &self.applied.gaps
    }

    /// What is set on the socket, read back.
    pub const fn protection(&self) -> deadpeer_core::Protection {
        self.applied.now
    }
}

impl<S: AsSock> Guarded<S> {
    /// Whether the kernel knows that the peer is gone or has closed. It does not wait, and takes no data.
    pub fn is_lost(&self) -> Option<PeerLost> {
        self.lost_within(Duration::ZERO)
    }

    /// Waits up to `patience` for the kernel to know that the peer is gone or has closed. Data that comes
    /// does not end the wait, and is not read.
    #[doc(alias = "POLLRDHUP")]
    pub fn lost_within(&self, patience: Duration) -> Option<PeerLost> {
        if let Some(lost) = self.lost.get() {
            return Some(lost.clone());
        }
        let readiness = stream::wait_for_end(self.inner.as_sock(), patience).ok()?;
        self.end(readiness)
    }

    /// What poll(2) said, with the error remembered that asking takes from the socket.
    fn end(&self, readiness: stream::Readiness) -> Option<PeerLost> {
        let lost = end(self.inner.as_sock(), readiness).ok()??;
        if lost.errno.is_some() {
            // Whoever read the error first knows more than those who come after.
            return Some(self.lost.get_or_init(|| lost).clone());
        }
        Some(self.lost.get().cloned().unwrap_or(lost))
    }

    /// Explains an error, and remembers the loss.
    fn explain(&self, error: io::Error) -> io::Error {
        let Some(lost) = end::lost_by(self.inner.as_sock(), &error) else { return error };
        // EPIPE after a loss that was told before: its first cause is the true one.
        io::Error::new(error.kind(), self.lost.get_or_init(|| lost).clone())
    }

    /// After a loss whose error was taken the kernel says "end of file".
    fn at_end_of_file(&self) -> io::Result<usize> {
        match self.lost.get() {
            Some(lost) => Err(lost.clone().into()),
            None => Ok(0),
        }
    }
}

#[cfg(unix)]
impl<S: std::os::fd::AsFd> std::os::fd::AsFd for Guarded<S> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

#[cfg(windows)]
impl<S: std::os::windows::io::AsSocket> std::os::windows::io::AsSocket for Guarded<S> {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.inner.as_socket()
    }
}
