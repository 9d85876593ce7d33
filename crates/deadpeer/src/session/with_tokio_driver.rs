//! What moves a session on tokio.

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use deadpeer_core::Instant;
use deadpeer_core::session::{Bye, Incoming, Peer};
use deadpeer_os::BorrowedSock;
use deadpeer_os::current::stream::prepare_session;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use super::state::State;
use super::tokio::Shared;
use super::{Refused, clock};
use crate::guard::PeerLost;

/// What one read takes. It lies on the stack of the thread that polls: a session at rest has no buffer.
const READ: usize = 16 * 1024;
/// So many reads before other tasks have their turn.
const TURNS: usize = 8;
/// How long the reactor gets to tell what had arrived before a write failed.
const LOOK: Duration = Duration::from_millis(1);

/// What moves a session: it owns the stream, and beats also while nobody sends or receives. Spawn
/// [`Driver::run`], or poll it beside what uses the [`Session`](super::tokio::Session).
#[must_use = "a session without its driver does not live"]
pub struct Driver<S> {
    stream: S,
    socket: Option<fn(&S) -> BorrowedSock<'_>>,
    shared: Arc<Shared>,
    /// Moved only when it rings: deadlines move with every byte, and nearly always into the future.
    alarm: Pin<Box<Sleep>>,
    rings_at: Instant,
    /// A write failed: what has arrived is delivered, and then this is told.
    failed: Option<io::Error>,
    /// The reactor has looked at the stream since the write failed. Before that a read finds nothing, although bytes may lie
    /// in the kernel.
    looked: bool,
    /// The stream has bytes that it has not passed on.
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(super) fn new(stream: S, socket: Option<fn(&S) -> BorrowedSock<'_>>, shared: Arc<Shared>) -> Self {
        if let Some(socket) = socket {
            prepare_session(socket(&stream));
        }
        let alarm = Box::pin(sleep_until(tokio::time::Instant::now()));
        Self {
            stream,
            socket,
            shared,
            alarm,
            rings_at: Instant::default(),
            failed: None,
            looked: false,
            unflushed: false,
        }
    }

    /// Runs until the session is over.
    ///
    /// # Errors
    /// Why it ended, unless by a goodbye: a [`PeerLost`] if the peer was lost.
    pub async fn run(mut self) -> io::Result<()> {
        let ended = poll_fn(|cx| self.poll(cx)).await;
        let (error, wakers) = {
            let Self { shared, stream, .. } = &mut self;
            // The last words, if there are any and the stream takes them at once.
            let _ = poll_fn(|cx| Poll::Ready(last_words(stream, shared, cx))).await;
            shared.with(|inside| {
                inside.state.finish(ended);
                (inside.state.error(), inside.all_wakers())
            })
        };
        // The peer sees the end before the program hears of it.
        drop(self);
        wakers.into_iter().for_each(Waker::wake);
        error.map_or(Ok(()), Err)
    }

    /// Runs until the two sides have agreed.
    pub(super) async fn greet(&mut self, admit: impl FnOnce(&Peer) -> Result<(), Bye>) -> io::Result<()> {
        let mut admit = Some(admit);
        let greeted = poll_fn(|cx| {
            let polled = self.poll(cx);
            let told = self.shared.with(|inside| inside.state.single.next());
            match told {
                Some(Incoming::Up) => Poll::Ready(Ok(())),
                Some(Incoming::Bye(bye)) => Poll::Ready(Err(Refused { bye }.into())),
                Some(Incoming::Greeted(peer)) => {
                    let verdict = admit.take().map_or(Ok(()), |admit| admit(&peer));
                    let admitted = self.shared.with(|inside| match verdict {
                        Ok(()) => {
                            inside.state.single.admit(clock::now());
                            Ok(())
                        }
                        Err(bye) => {
                            inside.state.single.bye(bye);
                            let text = format!("{:?} was refused: {bye}", peer.id);
                            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
                        }
                    });
                    // The HELLO is under way before the program can do anything else.
                    let _ = admitted.is_ok() && self.poll(cx).is_pending();
                    Poll::Ready(admitted)
                }
                _ => match polled {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) => Poll::Ready(Err(super::state::closed())),
                },
            }
        })
        .await;
        if greeted.is_err() {
            // The goodbye, if there is one, and the stream takes it at once.
            let Self { stream, shared, .. } = self;
            let _ = poll_fn(|cx| Poll::Ready(last_words(stream, shared, cx))).await;
        }
        greeted
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = Arc::clone(&self.shared);
        let (polled, wakers) = shared.with(|inside| {
            let polled = self.turn(&mut inside.state, cx);
            if !inside.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                inside.driver = Some(cx.waker().clone());
            }
            let mut wakers = Vec::new();
            if inside.state.single.has_news() {
                wakers.extend(inside.receiver.take());
            }
            if !inside.senders.is_empty() && inside.state.has_room() {
                wakers.append(&mut inside.senders);
            }
            (polled, wakers)
        });
        wakers.into_iter().for_each(Waker::wake);
        polled
    }

    fn turn(&mut self, state: &mut State, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut turns = 0;
        self.looked |= self.failed.is_some() && self.alarm.is_elapsed();
        loop {
            state.tick(self.socket.map(|socket| socket(&self.stream)))?;
            if self.failed.is_none()
                && let Err(error) = self.write(state, cx)
            {
                self.failed = Some(error);
                // A timer is only looked at after the reactor.
                self.ring_at(clock::now().after(LOOK));
            }
            if self.failed.is_none() && !self.unflushed && state.is_over()? {
                return Poll::Ready(Ok(()));
            }
            match self.read(state, cx)? {
                Read::Failed(error) => return Poll::Ready(state.failed(error)),
                Read::Nothing => break,
                Read::End => return Poll::Ready(state.ended()),
                Read::Some => {}
            }
            turns += 1;
            if turns == TURNS {
                cx.waker().wake_by_ref();
                break;
            }
        }
        self.set_alarm(state, cx);
        Poll::Pending
    }

    /// Writes and flushes as much as the stream takes.
    fn write(&mut self, state: &mut State, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let now = clock::now();
            let output = state.single.output(now);
            if output.is_empty() {
                break;
            }
            match Pin::new(&mut self.stream).poll_write(cx, output) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    state.single.wrote(written, now);
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if self.unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    /// One read.
    fn read(&mut self, state: &mut State, cx: &mut Context<'_>) -> io::Result<Read> {
        let mut buffer = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let failed = match read {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                state.arrived(buffer.filled())?;
                return Ok(Read::Some);
            }
            // Everything that had arrived is delivered; now the write's error is told.
            Poll::Pending if self.looked => self.failed.take(),
            Poll::Pending => None,
            Poll::Ready(Ok(())) => match self.failed.take() {
                Some(error) => Some(error),
                None => return Ok(Read::End),
            },
            Poll::Ready(Err(error)) => Some(self.failed.take().unwrap_or(error)),
        };
        match (failed, self.socket) {
            (None, _) => Ok(Read::Nothing),
            (Some(error), None) => Ok(Read::Failed(error)),
            (Some(error), Some(socket)) => Ok(Read::Failed(PeerLost::explain(&socket(&self.stream), error))),
        }
    }

    fn ring_at(&mut self, deadline: Instant) {
        let at = tokio::time::Instant::now().checked_add(deadline.since(clock::now()));
        // The end of time: another event comes first.
        let far = || tokio::time::Instant::now() + Duration::from_secs(86_400 * 365);
        self.alarm.as_mut().reset(at.unwrap_or_else(far));
        self.rings_at = deadline;
    }

    fn set_alarm(&mut self, state: &mut State, cx: &mut Context<'_>) {
        let deadline = state.deadline();
        loop {
            if deadline < self.rings_at || self.alarm.is_elapsed() {
                self.ring_at(deadline);
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return;
            }
            if deadline <= clock::now() {
                cx.waker().wake_by_ref();
                return;
            }
        }
    }
}

enum Read {
    Some,
    Nothing,
    End,
    Failed(io::Error),
}

/// Writes what is left, if the stream takes it at once, and ends the stream.
fn last_words<S: AsyncWrite + Unpin>(
    stream: &mut S,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    shared.with(|inside| {
        loop {
            let now = clock::now();
            let output = inside.state.single.output(now);
            if output.is_empty() {
                break;
            }
            match Pin::new(&mut *stream).poll_write(cx, output)? {
                Poll::Ready(written @ 1..) => inside.state.single.wrote(written, now),
                _ => return Ok(()),
            }
        }
        let _ = Pin::new(&mut *stream).poll_flush(cx)?;
        let _ = Pin::new(&mut *stream).poll_shutdown(cx)?;
        Ok(())
    })
}

impl<S> std::fmt::Debug for Driver<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// A driver that is dropped while its session lives ends the session: the program must not wait for ever.
impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        let wakers = self.shared.with(|inside| {
            inside.state.finish(Err(super::state::closed()));
            inside.all_wakers()
        });
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A driver runs wherever a future of its kind does.
fn _driver_is_a_plain_future<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    driver: Driver<S>,
) -> impl Future<Output = io::Result<()>> + Send {
    driver.run()
}
