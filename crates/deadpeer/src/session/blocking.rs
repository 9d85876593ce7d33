//! Sessions for programs without a runtime: a thread each.

use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use deadpeer_core::Timing;
use deadpeer_core::session::{Bye, Happened, Incoming, Peer, Role};
use deadpeer_os::AsSock;
use deadpeer_os::current::stream::{prepare_session, readiness, set_nonblocking};
use deadpeer_os::current::wait::{Waker, wait};

use super::blocking_stream::SessionStream;
use super::state::{State, closed};
use super::{Config, Refused, clock};
use crate::guard::PeerLost;

/// What one read takes.
const READ: usize = 16 * 1024;

/// One side of a session whose stream belongs to a thread of its own, so that it beats while nobody sends or
/// receives. It can be shared between threads, or [split](Session::split). Dropping it says goodbye.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::thread;
/// use std::time::Duration;
/// use deadpeer::Policy;
/// use deadpeer::session::{Config, Session};
///
/// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
/// let config = Config::keeping(&policy)?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let there = config.clone().id("server");
/// let server = thread::spawn(move || {
///     let session = Session::accept(listener.accept()?.0, &there)?;
///     let asked = session.recv()?.unwrap_or_default();
///     session.send(&[&b"you said "[..], &asked].concat())
/// });
///
/// let session = Session::connect(TcpStream::connect(address)?, &config.id("client"))?;
/// session.send(b"hello")?;
/// assert_eq!(session.recv()?.as_deref(), Some(&b"you said hello"[..]));
/// assert_eq!(session.recv()?, None); // the server said goodbye
/// # server.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Session {
    sender: Sender,
    receiver: Receiver,
}

/// The sending half of a session. Clones send over the same session; when the last of them is dropped, this side has
/// ended its messages.
#[derive(Debug)]
pub struct Sender {
    handle: Handle,
}

/// The receiving half of a session.
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
struct Shared {
    state: Mutex<State>,
    /// Messages, room, or the end.
    news: Condvar,
    /// Wakes the thread.
    wake: Waker,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Greets over a stream that this side opened. It becomes non-blocking; on Linux its kernel keeps at most 16 KiB unsent, so
    /// that heartbeats don't wait behind megabytes (TCP_NOTSENT_LOWAT), and sends small frames at once (TCP_NODELAY).
    ///
    /// # Errors
    /// Of the stream; `InvalidData` for a peer that speaks another protocol; `TimedOut` for one that does not
    /// greet in time, or whose heartbeats are too slow; [`Refused`] for one that refuses this side.
    pub fn connect<S>(stream: S, config: &Config) -> io::Result<Self>
    where
        S: Read + Write + AsSock + Send + 'static,
    {
        Self::open(stream, Role::Connector, config, |_| Ok(()))
    }

    /// Greets over a stream that this side accepted, and admits every peer that speaks the protocol.
    ///
    /// It waits for the peer's greeting: call it in a thread of its own, or a mute client keeps all others waiting.
    /// `examples/chat_server.rs` shows that.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn accept<S>(stream: S, config: &Config) -> io::Result<Self>
    where
        S: Read + Write + AsSock + Send + 'static,
    {
        Self::accept_if(stream, config, |_| Ok(()))
    }

    /// As [`accept`](Self::accept), where `admit` decides by the peer's name and token. The goodbye with which it refuses
    /// reaches the peer.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); `PermissionDenied` if `admit` refused.
    ///
    /// ```
    /// # use std::net::{TcpListener, TcpStream};
    /// # use std::time::Duration;
    /// # use deadpeer::Policy;
    /// use deadpeer::session::{Bye, Config, Reason, Session};
    /// # let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
    /// # let config = Config::keeping(&policy)?;
    /// # let listener = TcpListener::bind("127.0.0.1:0")?;
    /// # let stranger = TcpStream::connect(listener.local_addr()?)?;
    /// # let theirs = config.clone().token("a guess");
    /// # let stranger = std::thread::spawn(move || Session::connect(stranger, &theirs));
    ///
    /// let (stream, _) = listener.accept()?;
    /// let refused = Session::accept_if(stream, &config, |peer| match &peer.token[..] {
    ///     b"correct horse" => Ok(()),
    ///     _ => Err(Bye::new(Reason::Unauthorised).text("unknown token")),
    /// });
    /// assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    /// # let error = stranger.join().unwrap().unwrap_err();
    /// # assert!(error.to_string().contains("not authorised: unknown token"), "{error}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn accept_if<S>(
        stream: S,
        config: &Config,
        admit: impl FnOnce(&Peer) -> Result<(), Bye>,
    ) -> io::Result<Self>
    where
        S: Read + Write + AsSock + Send + 'static,
    {
        Self::open(stream, Role::Acceptor, config, admit)
    }

    fn open<S>(
        mut stream: S,
        role: Role,
        config: &Config,
        admit: impl FnOnce(&Peer) -> Result<(), Bye>,
    ) -> io::Result<Self>
    where
        S: Read + Write + AsSock + Send + 'static,
    {
        set_nonblocking(stream.as_sock())?;
        prepare_session(stream.as_sock());
        let mut state = State::new(role, config);
        greet(&mut stream, &mut state, admit)?;
        let peer = state.peer()?;
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new(), wake: Waker::new()? });
        let driver = Arc::clone(&shared);
        thread::Builder::new().name("deadpeer-session".into()).spawn(move || drive(stream, &driver))?;
        let handle = Handle { shared, peer };
        Ok(Self { sender: Sender { handle: handle.clone() }, receiver: Receiver { handle } })
    }

    /// The two halves, for two threads.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// Queues a message; waits while the peer takes no more. `Ok` means queued: the peer may still die before it has it.
    ///
    /// # Errors
    /// As the session ended; `InvalidInput` for a message longer than the peer accepts.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.sender.send(message)
    }

    /// Queues a message if there is room for it within `patience`.
    ///
    /// # Errors
    /// As [`send`](Self::send); `WouldBlock` if there was no room in time, and nothing was queued.
    pub fn send_within(&self, message: &[u8], patience: Duration) -> io::Result<()> {
        self.sender.send_within(message, patience)
    }

    /// Receives a message; `None` when the peer has ended or left.
    ///
    /// # Errors
    /// As the session ended: a [`PeerLost`] if the peer was lost. What arrived before is received before.
    pub fn recv(&self) -> io::Result<Option<Vec<u8>>> {
        self.receiver.recv()
    }

    /// Receives a message within `patience`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `WouldBlock` if none came in time, and the session goes on.
    pub fn recv_within(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        self.receiver.recv_within(patience)
    }

    /// Says that no more messages come from here. The session goes on, and the peer's messages arrive.
    pub fn end(&self) {
        self.sender.end();
    }

    /// Says goodbye, and waits until the peer has received everything and answered, or is lost.
    pub fn close(self, bye: Bye) {
        let handle = &self.sender.handle;
        handle.shared.lock().bye(bye);
        handle.shared.wake.wake();
        let mut state = handle.shared.lock();
        while state.over.is_none() {
            // Nobody takes messages any more.
            while state.receive().is_some_and(|received| matches!(received, Ok(Some(_)))) {}
            handle.shared.wake.wake();
            state = handle.shared.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Asks the peer to open another session after `back_in`; this one goes on.
    pub fn drain(&self, back_in: Duration) {
        let handle = &self.sender.handle;
        handle.shared.lock().single.drain(back_in, clock::now());
        handle.shared.wake.wake();
    }

    /// Waits for the end of the session within `patience`: `Some` with the error that ended it, or with none after a
    /// goodbye.
    pub fn over_within(&self, patience: Duration) -> Option<Option<io::Error>> {
        self.sender.over_within(patience)
    }

    /// The last round-trip time that was measured, application to application.
    pub fn rtt(&self) -> Option<Duration> {
        self.sender.handle.shared.lock().single.session().rtt()
    }

    /// The peer's goodbye, once it has arrived.
    pub fn goodbye(&self) -> Option<Bye> {
        self.sender.handle.goodbye()
    }

    /// After what time the peer asked for another session, if it did.
    pub fn draining(&self) -> Option<Duration> {
        self.sender.handle.shared.lock().single.draining()
    }

    /// Whether the peer has not answered a PING for its patience although its bytes arrive: it may hang while its kernel
    /// sends what it had written, or a proxy stands between.
    pub fn is_unresponsive(&self) -> bool {
        self.sender.handle.shared.lock().single.session().is_unresponsive()
    }

    /// The last events, the oldest first; at most 32.
    pub fn events(&self) -> Vec<Happened> {
        self.sender.handle.shared.lock().events()
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

    /// The same session as a stream of bytes, for code that wants `Read` and `Write`.
    pub const fn into_stream(self) -> SessionStream {
        SessionStream::new(self)
    }

    pub(super) fn max_message(&self) -> usize {
        self.peer().max_message as usize
    }

    pub(super) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.sender.handle.shared))
    }
}

impl Sender {
    /// As [`Session::send`].
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.handle.shared.lock().may_send(message.len())?;
        let state = self.handle.wait(State::has_room);
        self.put(message, state)
    }

    /// As [`Session::send_within`].
    ///
    /// # Errors
    /// As [`Session::send_within`].
    pub fn send_within(&self, message: &[u8], patience: Duration) -> io::Result<()> {
        self.handle.shared.lock().may_send(message.len())?;
        match self.handle.wait_within(patience, |state| state.has_room().then_some(())) {
            (state, Some(())) => self.put(message, state),
            (_, None) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn put(&self, message: &[u8], mut state: MutexGuard<'_, State>) -> io::Result<()> {
        state.send(message)?;
        drop(state);
        self.handle.shared.wake.wake();
        Ok(())
    }

    /// As [`Session::end`].
    pub fn end(&self) {
        self.handle.shared.lock().single.end();
        self.handle.shared.wake.wake();
    }

    /// Waits until everything that was queued is written to the stream, within `patience`. Says whether it is.
    ///
    /// # Errors
    /// As the session ended.
    pub fn flush_within(&self, patience: Duration) -> io::Result<bool> {
        let (state, flushed) = self.handle.wait_within(patience, |state| state.is_flushed().then_some(()));
        match state.error() {
            Some(error) => Err(error),
            None => Ok(flushed.is_some()),
        }
    }

    /// As [`Session::over_within`].
    pub fn over_within(&self, patience: Duration) -> Option<Option<io::Error>> {
        let (state, over) = self.handle.wait_within(patience, |state| state.over.is_some().then_some(()));
        over.map(|()| state.error())
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        self.handle.shared.lock().senders += 1;
        Self { handle: self.handle.clone() }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.handle.shared.lock().drop_sender();
        self.handle.shared.wake.wake();
    }
}

impl Receiver {
    /// As [`Session::recv`].
    ///
    /// # Errors
    /// As [`Session::recv`].
    pub fn recv(&self) -> io::Result<Option<Vec<u8>>> {
        let mut state = self.handle.shared.lock();
        loop {
            if let Some(received) = state.receive() {
                drop(state);
                // The peer gets credit for what was taken.
                self.handle.shared.wake.wake();
                return received;
            }
            state = self.handle.shared.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`Session::recv_within`].
    ///
    /// # Errors
    /// As [`Session::recv_within`].
    pub fn recv_within(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let (state, received) = self.handle.wait_within(patience, State::receive);
        drop(state);
        self.handle.shared.wake.wake();
        received.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    /// As [`Session::goodbye`].
    pub fn goodbye(&self) -> Option<Bye> {
        self.handle.goodbye()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.handle.shared.lock().drop_receiver();
        self.handle.shared.wake.wake();
    }
}

impl Handle {
    /// Waits for `ready`.
    fn wait(&self, ready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let not_yet = |state: &mut State| !ready(state);
        self.shared.news.wait_while(self.shared.lock(), not_yet).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` finds something, for `patience` at most.
    fn wait_within<R>(
        &self,
        patience: Duration,
        mut ready: impl FnMut(&mut State) -> Option<R>,
    ) -> (MutexGuard<'_, State>, Option<R>) {
        let mut found = None;
        let not_yet = |state: &mut State| {
            found = ready(state);
            found.is_none()
        };
        let waited = self.shared.news.wait_timeout_while(self.shared.lock(), patience, not_yet);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, found)
    }

    fn goodbye(&self) -> Option<Bye> {
        self.shared.lock().single.goodbye().copied()
    }
}

/// What remains of a session for its connector.
#[derive(Debug)]
pub(super) struct Watch(Arc<Shared>);

impl Watch {
    /// Why it ended, as far as that is known.
    pub(super) fn tell(&self) -> (Option<io::Error>, Option<Bye>) {
        let state = self.0.lock();
        (state.error(), state.single.goodbye().copied())
    }
}

fn greet(
    stream: &mut (impl Read + Write + AsSock),
    state: &mut State,
    admit: impl FnOnce(&Peer) -> Result<(), Bye>,
) -> io::Result<()> {
    let mut admit = Some(admit);
    let mut buffer = [0; 512];
    loop {
        let left = write_on(stream, state)?;
        wait(
            stream.as_sock(),
            true,
            left == Left::Room,
            None,
            left.patience(clock::until(state.deadline())),
        )?;
        let greeted = match read(stream, &mut buffer)? {
            Some(0) => Err(closed()),
            Some(length) => state.arrived(&buffer[..length]),
            None => state.tick(None),
        };
        if let Err(error) = greeted {
            // The goodbye, if there is one.
            let _ = write_out(stream, state);
            return Err(error);
        }
        match state.single.next() {
            Some(Incoming::Up) => return Ok(()),
            Some(Incoming::Greeted(peer)) => match admit.take().map_or(Ok(()), |admit| admit(&peer)) {
                Ok(()) => {
                    state.single.admit(clock::now());
                    // The HELLO is under way before the program can do anything else.
                    return write_out(stream, state).map(drop);
                }
                Err(bye) => {
                    state.single.bye(bye);
                    write_out(stream, state)?;
                    let text = format!("{:?} was refused: {bye}", peer.id);
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
                }
            },
            Some(Incoming::Bye(bye)) => return Err(Refused { bye }.into()),
            _ => {}
        }
    }
}

/// The thread.
fn drive(mut stream: impl Read + Write + AsSock, shared: &Shared) {
    let ended = turn(&mut stream, shared);
    let mut state = shared.lock();
    // A goodbye, if one is left. A peer that takes nothing does not get it.
    let _ = write_out(&mut stream, &mut state);
    state.finish(ended);
    drop(state);
    // The peer sees the end before the program hears of it.
    drop(stream);
    shared.news.notify_all();
}

fn turn(stream: &mut (impl Read + Write + AsSock), shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    // A write failed: what has arrived is delivered, and then this is told.
    let mut failed = None;
    loop {
        let mut state = shared.lock();
        state.tick(Some(stream.as_sock()))?;
        let mut left = Left::Nothing;
        if failed.is_none() {
            match write_on(stream, &mut state) {
                Ok(more) => left = more,
                Err(error) => failed = Some(error),
            }
        }
        if failed.is_none() && left == Left::Nothing && state.is_over()? {
            return Ok(());
        }
        let patience = left.patience(clock::until(state.deadline()));
        drop(state);
        shared.news.notify_all();

        let patience = if failed.is_some() { Some(Duration::ZERO) } else { patience };
        let readable = wait(stream.as_sock(), true, left == Left::Room, Some(&shared.wake), patience)?;
        if !readable && failed.is_none() {
            continue;
        }
        // All of it: a stream above the socket may hold more than the socket shows.
        let error = loop {
            match read(stream, &mut buffer) {
                Ok(Some(0)) => match failed.take() {
                    Some(error) => break Some(error),
                    None => return shared.lock().ended(),
                },
                Ok(Some(length)) => shared.lock().arrived(&buffer[..length])?,
                Ok(None) => break failed.take(),
                Err(error) => break Some(failed.take().unwrap_or(error)),
            }
        };
        if let Some(error) = error {
            let error = PeerLost::explain(&stream.as_sock(), error);
            return shared.lock().failed(error);
        }
    }
}

/// Reads what there is; `None` for nothing now.
fn read(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(buffer) {
            Ok(length) => return Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// What has to happen before the rest can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Everything is written.
    Nothing,
    /// The socket takes more.
    Room,
    /// The stream refuses bytes although its socket takes some: TLS writes nothing before its handshake is done. Waiting for room
    /// in the socket would spin.
    Input,
}

impl Left {
    /// How long to wait at most. Nobody says when a stream above its socket takes bytes again, so it is asked often.
    fn patience(self, patience: Option<Duration>) -> Option<Duration> {
        const AGAIN: Duration = Duration::from_millis(10);
        match self {
            Self::Input => Some(patience.map_or(AGAIN, |patience| patience.min(AGAIN))),
            Self::Nothing | Self::Room => patience,
        }
    }
}

/// Writes what the stream takes now.
fn write_on(stream: &mut (impl Write + AsSock), state: &mut State) -> io::Result<Left> {
    // The second time there was room before.
    for _ in 0..2 {
        let wrote = write_out(stream, state)?;
        if !wrote.more {
            return Ok(Left::Nothing);
        }
        if wrote.some || !readiness(stream.as_sock())?.writable {
            return Ok(Left::Room);
        }
    }
    Ok(Left::Input)
}

/// What a call of [`write_out`] achieved.
struct Wrote {
    /// The stream took some bytes.
    some: bool,
    /// Something is left: here, or in the stream's own buffers.
    more: bool,
}

/// Writes and flushes as much as the stream takes now.
fn write_out(stream: &mut impl Write, state: &mut State) -> io::Result<Wrote> {
    let mut some = false;
    loop {
        let now = clock::now();
        let output = state.single.output(now);
        if output.is_empty() {
            break;
        }
        match stream.write(output) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                state.single.wrote(written, now);
                some = true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Wrote { some, more: true }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    match stream.flush() {
        Ok(()) => Ok(Wrote { some, more: false }),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(Wrote { some, more: true })
        }
        Err(error) => Err(error),
    }
}
