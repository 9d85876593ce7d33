//! Sessions on tokio.
//!
//! [`connect`] and [`accept`] give a [`Session`], which is the program's handle, and a [`Driver`], which owns the stream:
//! spawn [`Driver::run`], or poll it beside what uses the session.
//!
//! - **Ok means queued.** [`Sender::send`] resolves when the message is in the session's queue, not when the peer has it.
//!   [`Sender::flush`] waits until the stream has taken it. Nothing but an answer of the peer's program proves more.
//! - **Cancel safety.** Dropping the future of [`send`](Sender::send) before it resolves means that the message was not queued.
//!   Dropping the future of [`recv`](Receiver::recv) loses no message. The same holds for the futures of
//!   [`flush`](Sender::flush) and [`over`](Sender::over). Dropping the future of [`connect`] or [`accept`] closes the stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use deadpeer_core::Timing;
use deadpeer_core::session::{Bye, Happened, Peer, Role};
use deadpeer_os::BorrowedSock;
use futures_core::Stream;
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite};

use super::state::State;
use super::{Config, clock};

pub use super::with_tokio_connector::Connector;
pub use super::with_tokio_driver::Driver;
pub use super::with_tokio_stream::SessionStream;

/// One side of a session: the program's handle. Dropping it says goodbye.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use deadpeer::session::{Config, tokio::{accept, connect}};
/// use deadpeer::Policy;
///
/// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
/// let config = Config::keeping(&policy)?;
/// let (here, there) = tokio::io::duplex(1024); // any stream: TCP, TLS …
/// let (alices, bobs) = (config.clone().id("alice"), config.id("bob"));
/// let (alice, bob) = tokio::try_join!(connect(here, &alices), accept(there, &bobs))?;
/// let ((alice, driver), (mut bob, other)) = (alice, bob);
/// tokio::spawn(driver.run());
/// tokio::spawn(other.run());
///
/// alice.send(b"hello, Bob").await?;
/// assert_eq!(bob.recv().await?.as_deref(), Some(&b"hello, Bob"[..]));
/// assert_eq!(bob.peer_id(), "alice");
/// drop(alice);
/// assert_eq!(bob.recv().await?, None); // a goodbye is no error
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Session {
    sender: Sender,
    receiver: Receiver,
}

/// The sending half of a session, a [`Sink`] of messages. Clones send over the same session; when the last of them is
/// dropped, this side has ended its messages.
#[derive(Debug)]
pub struct Sender {
    handle: Handle,
}

/// The receiving half of a session, a [`Stream`] of messages.
#[derive(Debug)]
pub struct Receiver {
    handle: Handle,
}

#[derive(Clone, Debug)]
struct Handle {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
}

#[derive(Debug)]
pub(super) struct Shared(Mutex<Inside>);

#[derive(Debug)]
pub(super) struct Inside {
    pub state: State,
    pub driver: Option<Waker>,
    pub receiver: Option<Waker>,
    /// Those who wait for room, or for everything to be written.
    pub senders: Vec<Waker>,
    /// Those who wait for the end. Heartbeats don't wake them.
    end_waiters: Vec<Waker>,
}

impl Inside {
    /// Everybody who is to know that the session is over.
    pub(super) fn all_wakers(&mut self) -> Vec<Waker> {
        let mut wakers = std::mem::take(&mut self.senders);
        wakers.append(&mut self.end_waiters);
        wakers.extend(self.receiver.take());
        wakers
    }
}

fn register(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

impl Shared {
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Inside) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes something that the driver has to see.
    fn order<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let (result, driver) = self.with(|inside| (act(&mut inside.state), inside.driver.take()));
        if let Some(driver) = driver {
            driver.wake();
        }
        result
    }

    /// Why the session ended, as far as that is known.
    pub(super) fn told(&self) -> (Option<io::Error>, Option<Bye>) {
        self.with(|inside| (inside.state.error(), inside.state.single.goodbye().copied()))
    }
}

/// Greets over a stream that this side opened.
///
/// `connect` knows nothing of the socket below the stream; [`connect_over`] does.
///
/// # Errors
/// Of the stream; `InvalidData` for a peer that speaks another protocol; `TimedOut` for one that does not
/// greet in time, or whose heartbeats are too slow; [`Refused`](super::Refused) for one that refuses this side.
pub async fn connect<S>(stream: S, config: &Config) -> io::Result<(Session, Driver<S>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    open(stream, None, Role::Connector, config, |_| Ok(())).await
}

/// As [`connect`], for a stream over a socket, which `socket` lends: `|stream| stream.as_sock()` for a TCP stream,
/// `|tls| tls.get_ref().0.as_sock()` for tokio-rustls.
///
/// On Linux a session that knows its socket takes bytes for signs of life that TLS has not passed on, because they
/// complete no record; tells a program that hangs ([`Loss::Hung`](crate::Loss::Hung)) from a host that is gone; sends small
/// frames at once (TCP_NODELAY); and keeps at most 16 KiB unsent in the kernel, so that heartbeats don't wait behind megabytes
/// (TCP_NOTSENT_LOWAT).
///
/// # Errors
/// As [`connect`].
pub async fn connect_over<S>(
    stream: S,
    socket: fn(&S) -> BorrowedSock<'_>,
    config: &Config,
) -> io::Result<(Session, Driver<S>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    open(stream, Some(socket), Role::Connector, config, |_| Ok(())).await
}

/// Greets over a stream that this side accepted, and admits every peer that speaks the protocol.
///
/// It waits for the peer's greeting: await it in a task of its own, or a mute client keeps all others waiting.
///
/// # Errors
/// As [`connect`].
pub async fn accept<S>(stream: S, config: &Config) -> io::Result<(Session, Driver<S>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    open(stream, None, Role::Acceptor, config, |_| Ok(())).await
}

/// As [`accept`], for a stream over a socket as in [`connect_over`], where `admit` decides by the peer's name and token. The
/// goodbye with which it refuses reaches the peer.
///
/// # Errors
/// As [`connect`]; `PermissionDenied` if `admit` refused.
pub async fn accept_over<S>(
    stream: S,
    socket: fn(&S) -> BorrowedSock<'_>,
    config: &Config,
    admit: impl FnOnce(&Peer) -> Result<(), Bye>,
) -> io::Result<(Session, Driver<S>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    open(stream, Some(socket), Role::Acceptor, config, admit).await
}

async fn open<S>(
    stream: S,
    socket: Option<fn(&S) -> BorrowedSock<'_>>,
    role: Role,
    config: &Config,
    admit: impl FnOnce(&Peer) -> Result<(), Bye>,
) -> io::Result<(Session, Driver<S>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let state = State::new(role, config);
    let inside = Inside { state, driver: None, receiver: None, senders: Vec::new(), end_waiters: Vec::new() };
    let shared = Arc::new(Shared(Mutex::new(inside)));
    let mut driver = Driver::new(stream, socket, Arc::clone(&shared));
    driver.greet(admit).await?;
    let peer = shared.with(|inside| inside.state.peer())?;
    let handle = Handle { shared, peer };
    let session = Session { sender: Sender { handle: handle.clone() }, receiver: Receiver { handle } };
    Ok((session, driver))
}

impl Session {
    /// The two halves, for two tasks.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// Queues a message; waits while the peer, or the stream, takes no more.
    ///
    /// # Errors
    /// As the session ended; `InvalidInput` for a message longer than the peer accepts.
    pub async fn send(&self, message: &[u8]) -> io::Result<()> {
        self.sender.send(message).await
    }

    /// Receives a message; `None` when the peer has ended or left.
    ///
    /// # Errors
    /// As the session ended: a [`PeerLost`](crate::PeerLost) if the peer was lost. What arrived before is received before.
    pub async fn recv(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.receiver.recv().await
    }

    /// Says that no more messages come from here. The session goes on, and the peer's messages arrive.
    pub fn end(&self) {
        self.sender.end();
    }

    /// Waits until the stream has taken everything that was queued.
    ///
    /// # Errors
    /// As the session ended.
    pub async fn flush(&self) -> io::Result<()> {
        self.sender.flush().await
    }

    /// Says goodbye, and waits until the peer has received everything and answered, or is lost.
    pub async fn close(self, bye: Bye) {
        let (sender, receiver) = self.split();
        sender.handle.shared.order(|state| state.bye(bye));
        drop(receiver); // what still arrives is dropped
        sender.over().await;
    }

    /// Asks the peer to open another session after `back_in`; this one goes on.
    pub fn drain(&self, back_in: Duration) {
        self.sender.handle.shared.order(|state| state.single.drain(back_in, clock::now()));
    }

    /// Resolves when the session is over, with the reason; `None` after a goodbye.
    pub async fn over(&self) -> Option<io::Error> {
        self.sender.over().await
    }

    /// The last round-trip time that was measured, application to application.
    pub fn rtt(&self) -> Option<Duration> {
        self.sender.handle.shared.with(|inside| inside.state.single.session().rtt())
    }

    /// The peer's goodbye, once it has arrived.
    pub fn goodbye(&self) -> Option<Bye> {
        self.sender.handle.shared.told().1
    }

    /// After what time the peer asked for another session, if it did.
    pub fn draining(&self) -> Option<Duration> {
        self.sender.handle.shared.with(|inside| inside.state.single.draining())
    }

    /// Whether the peer has not answered a PING for its patience although its bytes arrive.
    pub fn is_unresponsive(&self) -> bool {
        self.sender.handle.shared.with(|inside| inside.state.single.session().is_unresponsive())
    }

    /// The last events, the oldest first; at most 32.
    pub fn events(&self) -> Vec<Happened> {
        self.sender.handle.shared.with(|inside| inside.state.events())
    }

    /// The peer, as it greeted.
    pub fn peer(&self) -> &Peer {
        &self.sender.handle.peer
    }

    /// Who the peer says it is; may be empty.
    pub fn peer_id(&self) -> &str {
        &self.sender.handle.peer.id
    }

    /// What was agreed.
    pub fn timing(&self) -> Timing {
        self.sender.handle.peer.timing
    }

    /// The same session as a stream of bytes, for code that wants `AsyncRead` and `AsyncWrite`.
    pub const fn into_stream(self) -> SessionStream {
        SessionStream::new(self)
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        self.receiver.poll_recv(cx)
    }

    pub(super) const fn sender_mut(&mut self) -> &mut Sender {
        &mut self.sender
    }

    pub(super) const fn sender(&self) -> &Sender {
        &self.sender
    }

    pub(super) fn watch(&self) -> Arc<Shared> {
        Arc::clone(&self.sender.handle.shared)
    }
}

impl Sender {
    /// As [`Session::send`].
    ///
    /// # Errors
    /// As [`Session::send`].
    pub async fn send(&self, message: &[u8]) -> io::Result<()> {
        self.handle.shared.with(|inside| inside.state.may_send(message.len()))?;
        poll_fn(|cx| self.poll_room(cx)).await?;
        self.queue(message)
    }

    pub(super) fn queue(&self, message: &[u8]) -> io::Result<()> {
        self.handle.shared.order(|state| state.send(message))
    }

    /// Whether a message can be queued.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_until(cx, State::has_room)
    }

    fn poll_until(&self, cx: &mut Context<'_>, ready: impl Fn(&State) -> bool) -> Poll<io::Result<()>> {
        self.handle.shared.with(|inside| {
            if ready(&inside.state) {
                return Poll::Ready(inside.state.error().map_or(Ok(()), Err));
            }
            register(&mut inside.senders, cx);
            Poll::Pending
        })
    }

    /// As [`Session::end`].
    pub fn end(&self) {
        self.handle.shared.order(|state| state.single.end());
    }

    /// As [`Session::flush`].
    ///
    /// # Errors
    /// As [`Session::flush`].
    pub async fn flush(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_until(cx, State::is_flushed)).await
    }

    /// As [`Session::over`].
    pub async fn over(&self) -> Option<io::Error> {
        poll_fn(|cx| {
            self.handle.shared.with(|inside| {
                if inside.state.over.is_some() {
                    return Poll::Ready(inside.state.error());
                }
                register(&mut inside.end_waiters, cx);
                Poll::Pending
            })
        })
        .await
    }

    pub(super) fn max_message(&self) -> usize {
        self.handle.peer.max_message as usize
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        self.handle.shared.with(|inside| inside.state.senders += 1);
        Self { handle: self.handle.clone() }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.handle.shared.order(State::drop_sender);
    }
}

/// A message that is given to the sink while there is no room, which `poll_ready` would have told, is queued all the same.
impl<M: AsRef<[u8]>> Sink<M> for Sender {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_room(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: M) -> io::Result<()> {
        self.queue(message.as_ref())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_until(cx, State::is_flushed)
    }

    /// Ends this side's messages, and waits until that is written.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        self.poll_until(cx, State::is_flushed)
    }
}

impl Receiver {
    /// As [`Session::recv`].
    ///
    /// # Errors
    /// As [`Session::recv`].
    pub async fn recv(&mut self) -> io::Result<Option<Vec<u8>>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        let (received, driver) = self.handle.shared.with(|inside| match inside.state.receive() {
            // The peer gets credit for what was taken.
            Some(received) => (Poll::Ready(received), inside.driver.take()),
            None => {
                if !inside.receiver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    inside.receiver = Some(cx.waker().clone());
                }
                (Poll::Pending, None)
            }
        });
        if let Some(driver) = driver {
            driver.wake();
        }
        received
    }
}

/// Ends with the peer's messages, or after the error that ended the session.
impl Stream for Receiver {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(Result::transpose)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.handle.shared.order(State::drop_receiver);
    }
}
