//! Sessions on tokio.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use deadpeer_core::Timing;
use deadpeer_core::protocol::{Bye, Config, Reason};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, sleep};

use super::clock;
use super::engine::{Engine, Failure, Peer, READ, Told, closed};

pub use super::with_tokio_connector::Connector;
pub use super::with_tokio_stream::SessionStream;

/// So many messages wait between the driver and the program, in each direction.
const QUEUE: usize = 16;
/// A goodbye gets this long to be written.
const FAREWELL: Duration = Duration::from_secs(1);

/// One side of a session: the program's handle. The [`Driver`] owns the stream.
///
/// Dropping it says goodbye.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use deadpeer::session::{Config, Offer, tokio::open};
/// use deadpeer::Policy;
///
/// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
/// let config = Config::new(Offer::keeping(&policy)?);
/// let (here, there) = tokio::io::duplex(1024); // any stream: TCP, TLS …
/// let (alice, bob) = tokio::try_join!(open(here, config, "alice"), open(there, config, "bob"))?;
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
    orders: mpsc::Sender<Order>,
    messages: mpsc::Receiver<Vec<u8>>,
    shared: Arc<Shared>,
    over: watch::Receiver<bool>,
    peer: Peer,
}

#[derive(Debug)]
pub(super) enum Order {
    Send(Vec<u8>),
    End,
    Bye(Bye),
}

/// What the driver found out.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<Outcome>,
}

#[derive(Debug, Default)]
struct Outcome {
    rtt: Option<Duration>,
    goodbye: Option<Bye>,
    error: Option<Failure>,
}

impl Shared {
    fn with<R>(&self, act: impl FnOnce(&mut Outcome) -> R) -> R {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the session ended, as far as that is known.
    pub(super) fn told(&self) -> (Option<io::Error>, Option<Bye>) {
        (self.error(), self.with(|outcome| outcome.goodbye))
    }

    fn error(&self) -> Option<io::Error> {
        self.with(|outcome| outcome.error.as_ref().map(Failure::to_error))
    }
}

/// Greets the peer over `stream`, and gives the handle and the driver of the session. Both sides open.
///
/// # Errors
/// Of the stream; `InvalidData` for a peer that speaks another protocol; `TimedOut` for one that does not
/// greet in time, or whose heartbeats are too slow for the offer.
pub async fn open<S>(mut stream: S, config: Config, id: &str) -> io::Result<(Session, Driver<S>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut engine = Engine::new(config, id);
    let greeted = greet(&mut stream, &mut engine).await;
    if greeted.is_err() {
        let _ = tokio::time::timeout(FAREWELL, flush(&mut stream, &mut engine)).await;
    }
    greeted?;
    let Some(peer) = engine.peer.clone() else { return Err(closed()) };
    let (orders, received) = mpsc::channel(QUEUE);
    let (delivered, messages) = mpsc::channel(QUEUE);
    let (tell_over, over) = watch::channel(false);
    let shared = Arc::new(Shared::default());
    let session = Session { orders, messages, shared: Arc::clone(&shared), over, peer };
    let (reader, writer) = tokio::io::split(stream);
    Ok((
        session,
        Driver { reader, writer, engine, orders: received, messages: delivered, shared, over: tell_over },
    ))
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, engine: &mut Engine) -> io::Result<()> {
    flush(stream, engine).await?;
    let mut buffer = [0; 512];
    while engine.peer.is_none() {
        let patience = clock::until(engine.deadline()).unwrap_or(Duration::MAX);
        match tokio::time::timeout(patience, stream.read(&mut buffer)).await {
            Err(_) => engine.tick()?,
            Ok(Err(error)) => return Err(error),
            Ok(Ok(0)) => return Err(closed()),
            Ok(Ok(length)) => {
                engine.arrived(&buffer[..length]);
                engine.greeted()?;
            }
        }
    }
    Ok(())
}

async fn flush<S: AsyncWrite + Unpin>(stream: &mut S, engine: &mut Engine) -> io::Result<()> {
    while !engine.unwritten().is_empty() {
        let written = stream.write(engine.unwritten()).await?;
        engine.wrote(written);
    }
    stream.flush().await
}

impl Session {
    /// Sends a message; waits while the peer, or the stream, takes no more.
    ///
    /// # Errors
    /// As the session ended; `InvalidInput` for a message longer than the limit.
    pub async fn send(&self, message: &[u8]) -> io::Result<()> {
        if message.len() > self.limit() {
            let error = format!("the message has {} bytes, the limit is {}", message.len(), self.limit());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        self.order(Order::Send(message.to_vec())).await
    }

    /// Receives a message; `None` when the peer has ended or left.
    ///
    /// # Errors
    /// As the session ended: a [`PeerLost`](crate::PeerLost) where the peer was lost.
    pub async fn recv(&mut self) -> io::Result<Option<Vec<u8>>> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Says that no more messages come from here. The session goes on, and the peer's messages arrive.
    ///
    /// # Errors
    /// As the session ended.
    pub async fn end(&self) -> io::Result<()> {
        self.order(Order::End).await
    }

    /// Says goodbye with a reason and the time after which the peer may come back, and waits until that is
    /// written.
    pub async fn close(mut self, reason: Reason, back_in: Duration) {
        let _ = self.order(Order::Bye(Bye { reason, back_in })).await;
        let _ = self.over.wait_for(|over| *over).await;
    }

    /// Resolves when the session is over, with the reason; `None` for a goodbye.
    pub async fn over(&self) -> Option<io::Error> {
        let _ = self.over.clone().wait_for(|over| *over).await;
        self.shared.error()
    }

    /// The last round-trip time that was measured, application to application.
    pub fn rtt(&self) -> Option<Duration> {
        self.shared.with(|outcome| outcome.rtt)
    }

    /// The peer's goodbye, once it has come.
    pub fn goodbye(&self) -> Option<Bye> {
        self.shared.with(|outcome| outcome.goodbye)
    }

    /// Who the peer says it is; may be empty.
    pub fn peer_id(&self) -> &str {
        &self.peer.id
    }

    /// What was agreed.
    pub const fn timing(&self) -> Timing {
        self.peer.timing
    }

    /// The same session as a stream of bytes, for what wants `AsyncRead` and `AsyncWrite`.
    pub fn into_stream(self) -> SessionStream {
        SessionStream::new(self)
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        match ready!(self.messages.poll_recv(cx)) {
            Some(message) => Poll::Ready(Ok(Some(message))),
            None => Poll::Ready(self.shared.error().map_or(Ok(None), Err)),
        }
    }

    pub(super) const fn orders(&self) -> &mpsc::Sender<Order> {
        &self.orders
    }

    /// Why the driver takes no more orders.
    pub(super) fn failure(&self) -> io::Error {
        self.shared.error().unwrap_or_else(closed)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub(super) fn limit(&self) -> usize {
        self.peer.limit as usize
    }

    async fn order(&self, order: Order) -> io::Result<()> {
        self.orders.send(order).await.map_err(|_| self.failure())
    }
}

/// What moves a session: it owns the stream, and beats also while nobody sends or receives. Spawn
/// [`Driver::run`], or poll it beside what uses the [`Session`].
#[derive(Debug)]
#[must_use = "a session without its driver does not live"]
pub struct Driver<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    engine: Engine,
    orders: mpsc::Receiver<Order>,
    messages: mpsc::Sender<Vec<u8>>,
    shared: Arc<Shared>,
    over: watch::Sender<bool>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// Runs until the session is over.
    ///
    /// # Errors
    /// Why it ended, unless by a goodbye: a [`PeerLost`](crate::PeerLost) where the peer was lost.
    pub async fn run(mut self) -> io::Result<()> {
        let ended = self.turn().await;
        if let Err(error) = &ended {
            let failure = Failure::of(error);
            self.shared.with(|outcome| outcome.error = Some(failure));
        }
        // What is left is a goodbye at most; a peer that takes nothing does not get it.
        let farewell = async {
            while !self.engine.unwritten().is_empty() {
                let written = self.writer.write(self.engine.unwritten()).await?;
                self.engine.wrote(written);
            }
            self.writer.shutdown().await
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        let _ = self.over.send(true);
        ended
    }

    async fn turn(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ];
        let mut held = None;
        // Receiving stops after the peer's END or BYE, and when the program has dropped its handle.
        let mut delivering = true;
        let mut ordering = true;
        let mut alarm: Pin<Box<Sleep>> = Box::pin(sleep(Duration::ZERO));
        let mut leave_by = None;
        loop {
            while held.is_none() {
                match self.engine.next()? {
                    Some(Told::Message(message)) if delivering => held = Some(message),
                    Some(Told::Message(_)) => {}
                    Some(Told::End) => {
                        delivering = false;
                        self.stop_delivering();
                    }
                    Some(Told::Bye(bye)) => {
                        self.shared.with(|outcome| outcome.goodbye = Some(bye));
                        self.engine.bye(Reason::Done, Duration::ZERO);
                    }
                    None => break,
                }
            }
            let leaving = !self.engine.is_up();
            let ticked = self.engine.tick();
            if leaving {
                // After a goodbye nobody is waited for long, and nobody is missed.
                let by = *leave_by.get_or_insert_with(|| tokio::time::Instant::now() + FAREWELL);
                if ticked.is_err() || self.engine.is_over() || tokio::time::Instant::now() >= by {
                    return Ok(());
                }
            }
            ticked?;
            self.shared.with(|outcome| outcome.rtt = self.engine.rtt);
            self.engine.set_full(held.is_some());
            let wait = clock::until(self.engine.deadline()).unwrap_or(Duration::from_secs(3600));
            let due = tokio::time::Instant::now() + wait;
            alarm.as_mut().reset(leave_by.map_or(due, |by| by.min(due)));
            tokio::select! {
                read = self.reader.read(&mut buffer), if held.is_none() => match read? {
                    0 if self.engine.is_up() => return Err(closed()),
                    0 => return Ok(()),
                    length => self.engine.arrived(&buffer[..length]),
                },
                written = self.writer.write(self.engine.unwritten()), if !self.engine.unwritten().is_empty() => {
                    self.engine.wrote(written?);
                }
                order = self.orders.recv(), if ordering && self.engine.has_room() => match order {
                    Some(Order::Send(message)) => {
                        // Only a session that is over takes no message, and it says so itself.
                        let _ = self.engine.send(&message);
                    }
                    Some(Order::End) => self.engine.end(),
                    Some(Order::Bye(bye)) => self.engine.bye(bye.reason, bye.back_in),
                    None => {
                        ordering = false;
                        self.engine.bye(Reason::Done, Duration::ZERO);
                    }
                },
                permit = self.messages.reserve(), if held.is_some() => match permit {
                    Ok(permit) => if let Some(message) = held.take() {
                        permit.send(message);
                    },
                    Err(_) => {
                        held = None;
                        delivering = false;
                    }
                },
                () = &mut alarm => {}
            }
        }
    }

    /// The program's `recv` says `None` from now on.
    fn stop_delivering(&mut self) {
        self.messages = mpsc::channel(1).0;
    }
}

/// A session runs wherever a future of its kind does.
fn _driver_is_a_plain_future<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    driver: Driver<S>,
) -> impl Future<Output = io::Result<()>> + Send {
    driver.run()
}
