//! Streams whose errors say why the peer is gone.

mod blocking;
mod end;
mod loss;
mod memory;
mod missed;
#[cfg(feature = "tokio")]
mod shared;
#[cfg(feature = "tokio")]
mod with_tokio;

use std::io;
use std::time::Duration;

use deadpeer_core::{Concern, Policy};
use deadpeer_os::AsSock;
use deadpeer_os::current::settings::Gap;

use crate::apply::{Applied, ApplyError, inherit};
pub(crate) use end::{Until, end};
pub use end::{is_lost, is_over, lost_within, over_within};
pub use loss::{Loss, Mechanism, PeerLost};
use memory::Memory;
#[cfg(feature = "tokio")]
pub use with_tokio::{lost, over};

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
    Ok(Guarded::new(stream, applied, policy))
}

/// As [`guard`]; where the kernel's settings can't keep the policy, errors are explained all the same.
pub(crate) fn guard_if_possible<S: AsSock>(stream: S, policy: &Policy) -> io::Result<Guarded<S>> {
    let applied = match inherit(&stream, policy) {
        Ok(applied) => applied,
        Err(ApplyError::Shortfall(shortfall)) => shortfall.applied,
        Err(ApplyError::Unreachable(_)) => Applied::as_it_is(&stream)?,
        Err(ApplyError::Socket(error)) => return Err(io::Error::other(error)),
    };
    Ok(Guarded::new(stream, applied, policy))
}

/// A stream whose errors carry a [`PeerLost`]. It is made by [`guard`].
///
/// - A clean end of file (FIN) stays `Ok(0)`.
/// - What had arrived before a loss is delivered before the loss is told.
/// - After a loss every further read tells it again: never a false end of file.
/// - EINTR and EAGAIN pass through untouched.
/// - Threads that share it agree: whichever call takes the kernel's error, the others tell it, too.
/// - Where the policy accepts an RTO ceiling, dropping it puts the ceiling back before the socket closes:
///   see [`before_close`](crate::before_close).
#[derive(Debug)]
pub struct Guarded<S: AsSock> {
    /// There until [`Guarded::into_inner`].
    inner: Option<S>,
    applied: Applied,
    /// Whether the socket has an RTO ceiling that must not outlive its descriptor.
    has_ceiling: bool,
    memory: Memory,
}

impl<S: AsSock> Guarded<S> {
    fn new(stream: S, applied: Applied, policy: &Policy) -> Self {
        let has_ceiling = policy.accepts_rto_ceiling();
        Self { inner: Some(stream), applied, has_ceiling, memory: Memory::default() }
    }

    /// The stream.
    #[inline]
    pub fn get_ref(&self) -> &S {
        match &self.inner {
            Some(stream) => stream,
            None => unreachable!("`into_inner` consumes the guard"),
        }
    }

    /// The stream. Errors of what is done with it directly are not remembered here.
    #[inline]
    pub fn get_mut(&mut self) -> &mut S {
        match &mut self.inner {
            Some(stream) => stream,
            None => unreachable!("`into_inner` consumes the guard"),
        }
    }

    /// The stream, guarded by its settings still, but without explanations. Call
    /// [`before_close`](crate::before_close) before you close it, if the policy accepts an RTO ceiling.
    pub fn into_inner(mut self) -> S {
        match self.inner.take() {
            Some(stream) => stream,
            None => unreachable!("`into_inner` consumes the guard"),
        }
    }

    /// What the kernel took otherwise than the policy wants.
    pub fn gaps(&self) -> &[Gap] {
        &self.applied.gaps
    }

    /// Where what is set keeps less than the policy wants: never anything, unless the policy says
    /// [`best_effort`](deadpeer_core::PolicyBuilder::best_effort).
    pub fn shortfalls(&self) -> &[Concern] {
        &self.applied.shortfalls
    }

    /// What is set on the socket, read back.
    pub const fn protection(&self) -> deadpeer_core::Protection {
        self.applied.now
    }

    /// Whether the kernel knows that the peer is gone or has closed. It takes no data, and does not wait, except
    /// for a call in another thread that has taken the connection's error and is about to remember it.
    pub fn is_lost(&self) -> Option<PeerLost> {
        self.lost_within(Duration::ZERO)
    }

    /// Waits up to `patience` for the kernel to know that the peer is gone or has closed. Data that comes
    /// does not end the wait, and is not read.
    ///
    /// A peer that has said all that it had to say, and waits for the answer, counts as closed: see
    /// [`Guarded::over_within`].
    #[doc(alias = "POLLRDHUP")]
    pub fn lost_within(&self, patience: Duration) -> Option<PeerLost> {
        self.wait(Until::Closed, patience)
    }

    /// Whether the kernel knows that the connection is over: reset, timed out, or closed by both sides. Else as
    /// [`Guarded::is_lost`].
    pub fn is_over(&self) -> Option<PeerLost> {
        self.over_within(Duration::ZERO)
    }

    /// Waits up to `patience` for the kernel to know that the connection is over: reset, timed out, or closed by
    /// both sides. A client that closed its sending side after its request, and waits for the answer, does not
    /// end the wait: [`over_within`](crate::over_within()) says more.
    #[doc(alias = "POLLHUP")]
    pub fn over_within(&self, patience: Duration) -> Option<PeerLost> {
        self.wait(Until::Over, patience)
    }

    fn wait(&self, until: Until, patience: Duration) -> Option<PeerLost> {
        if let Some(lost) = self.memory.lost() {
            return Some(lost);
        }
        let sock = self.get_ref().as_sock();
        end::wait(sock, until, patience, |readiness| self.memory.end(sock, readiness, until, Memory::GRACE))
            .ok()?
    }

    /// Explains an error, and remembers the loss.
    #[cold]
    fn explain(&self, error: io::Error, grace: Duration) -> io::Error {
        self.memory.explain(self.get_ref().as_sock(), error, grace)
    }
}

impl<S: AsSock> Drop for Guarded<S> {
    fn drop(&mut self) {
        if let Some(stream) = self.inner.as_ref().filter(|_| self.has_ceiling) {
            // What can't be set can't be helped any more.
            let _ = crate::apply::before_close(stream);
        }
    }
}

#[cfg(unix)]
impl<S: AsSock + std::os::fd::AsFd> std::os::fd::AsFd for Guarded<S> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

#[cfg(windows)]
impl<S: AsSock + std::os::windows::io::AsSocket> std::os::windows::io::AsSocket for Guarded<S> {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.get_ref().as_socket()
    }
}
