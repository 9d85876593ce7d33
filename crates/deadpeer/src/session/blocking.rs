//! Sessions for programs without a runtime: a thread each.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_core::Timing;
use deadpeer_core::protocol::{Bye, Config, Reason};
use deadpeer_os::AsSock;
use deadpeer_os::current::stream::set_nonblocking;
use deadpeer_os::current::wait::{Waker, wait};

use super::blocking_stream::SessionStream;
use super::clock;
use super::engine::{Engine, Failure, Peer, READ, Told, closed};

/// So many messages wait for the program.
const QUEUE: usize = 16;
/// A goodbye gets this long to be written and answered.
const FAREWELL: Duration = Duration::from_secs(1);

/// One side of a session whose stream belongs to a thread of its own, so that it beats while nobody sends or
/// receives. It can be shared between threads. Dropping it says goodbye.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::thread;
/// use std::time::Duration;
/// use deadpeer::Policy;
/// use deadpeer::session::{Config, Offer, Session};
///
/// let policy = Policy::detect(Duration::from_secs(9)).survive(Duration::from_secs(2)).build()?;
/// let config = Config::new(Offer::keeping(&policy)?);
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let server = thread::spawn(move || {
///     let session = Session::open(listener.accept()?.0, config, "server")?;
///     let asked = session.recv()?.unwrap_or_default();
///     session.send(&[&b"you said "[..], &asked].concat())
/// });
///
/// let session = Session::open(TcpStream::connect(address)?, config, "client")?;
/// session.send(b"hello")?;
/// assert_eq!(session.recv()?.as_deref(), Some(&b"you said hello"[..]));
/// assert_eq!(session.recv()?, None); // the server said goodbye
/// # server.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    peer: Peer,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Messages, room, or the end.
    news: Condvar,
    /// Wakes the thread.
    wake: Waker,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    inbox: VecDeque<Vec<u8>>,
    /// The peer sends no more messages.
    ended: bool,
    goodbye: Option<Bye>,
    over: Option<Option<Failure>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the thread look again.
    fn wake(&self) {
        self.wake.wake();
    }
}

impl Session {
    /// Greets the peer over `stream`, which becomes non-blocking. Both sides open.
    ///
    /// # Errors
    /// Of the stream; `InvalidData` for a peer that speaks another protocol; `TimedOut` for one that does not
    /// greet in time, or whose heartbeats are too slow for the offer.
    pub fn open<S>(mut stream: S, config: Config, id: &str) -> io::Result<Self>
    where
        S: Read + Write + AsSock + Send + 'static,
    {
        set_nonblocking(stream.as_sock())?;
        let mut engine = Engine::new(config, id);
        let greeted = greet(&mut stream, &mut engine);
        if greeted.is_err() {
            let _ = write_out(&mut stream, &mut engine);
        }
        greeted?;
        let Some(peer) = engine.peer.clone() else { return Err(closed()) };
        let state = State { engine, inbox: VecDeque::new(), ended: false, goodbye: None, over: None };
        let wake = Waker::new()?;
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new(), wake });
        let driver = Arc::clone(&shared);
        thread::Builder::new().name("deadpeer-session".into()).spawn(move || drive(stream, &driver))?;
        Ok(Self { shared, peer })
    }

    /// Sends a message; waits while the peer takes no more.
    ///
    /// # Errors
    /// As the session ended; `InvalidInput` for a message longer than the limit.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.put(message, self.wait(|state| state.engine.has_room()))
    }

    /// Sends a message if there is room for it within `patience`.
    ///
    /// # Errors
    /// As [`Session::send`]; `WouldBlock` when there was no room in time, and nothing was sent.
    pub fn send_within(&self, message: &[u8], patience: Duration) -> io::Result<()> {
        let no_room = |state: &mut State| state.over.is_none() && !state.engine.has_room();
        let waited = self.shared.news.wait_timeout_while(self.shared.lock(), patience, no_room);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        match timeout.timed_out() {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => self.put(message, state),
        }
    }

    fn put(&self, message: &[u8], mut state: MutexGuard<'_, State>) -> io::Result<()> {
        if let Some(over) = &state.over {
            return Err(over.as_ref().map_or_else(closed, Failure::to_error));
        }
        let sent = state.engine.send(message);
        drop(state);
        self.shared.wake();
        sent.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// Receives a message; `None` when the peer has ended or left.
    ///
    /// # Errors
    /// As the session ended: a [`PeerLost`](crate::PeerLost) where the peer was lost.
    pub fn recv(&self) -> io::Result<Option<Vec<u8>>> {
        self.take(self.wait(|state| state.ended || !state.inbox.is_empty()))
    }

    /// Receives a message within `patience`.
    ///
    /// # Errors
    /// As [`Session::recv`]; `WouldBlock` when none came in time, and the session goes on.
    pub fn recv_within(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let nothing = |state: &mut State| state.over.is_none() && !state.ended && state.inbox.is_empty();
        let (state, timeout) = self
            .shared
            .news
            .wait_timeout_while(self.shared.lock(), patience, nothing)
            .unwrap_or_else(PoisonError::into_inner);
        match timeout.timed_out() {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => self.take(state),
        }
    }

    fn take(&self, mut state: MutexGuard<'_, State>) -> io::Result<Option<Vec<u8>>> {
        let message = state.inbox.pop_front();
        if message.is_some() {
            drop(state);
            self.shared.wake(); // there is room
            return Ok(message);
        }
        match &state.over {
            Some(Some(failure)) => Err(failure.to_error()),
            _ => Ok(None),
        }
    }

    /// Says that no more messages come from here. The session goes on, and the peer's messages arrive.
    pub fn end(&self) {
        self.shared.lock().engine.end();
        self.shared.wake();
    }

    /// Says goodbye with a reason and the time after which the peer may come back, and waits until that is
    /// written.
    pub fn close(self, reason: Reason, back_in: Duration) {
        self.shared.lock().engine.bye(reason, back_in);
        self.shared.wake();
        drop(self.wait(|_| false));
    }

    /// Waits up to `patience` for the end of the session. `Some(None)` is a goodbye, `Some(Some(_))` tells
    /// what else ended it.
    pub fn over_within(&self, patience: Duration) -> Option<Option<io::Error>> {
        let goes_on = |state: &mut State| state.over.is_none();
        let waited = self.shared.news.wait_timeout_while(self.shared.lock(), patience, goes_on);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.over.as_ref().map(|over| over.as_ref().map(Failure::to_error))
    }

    /// The last round-trip time that was measured, application to application.
    pub fn rtt(&self) -> Option<Duration> {
        self.shared.lock().engine.rtt
    }

    /// The peer's goodbye, once it has come.
    pub fn goodbye(&self) -> Option<Bye> {
        self.shared.lock().goodbye
    }

    /// Who the peer says it is; may be empty.
    pub fn peer_id(&self) -> &str {
        &self.peer.id
    }

    /// What was agreed.
    pub const fn timing(&self) -> Timing {
        self.peer.timing
    }

    /// The same session as a stream of bytes, for what wants `Read` and `Write`.
    pub const fn into_stream(self) -> SessionStream {
        SessionStream::new(self)
    }

    pub(super) const fn limit(&self) -> usize {
        self.peer.limit as usize
    }

    pub(super) fn ended(&self) -> Ended {
        Ended(Arc::clone(&self.shared))
    }

    /// Waits for `ready`, or for the end of the session.
    fn wait(&self, ready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let not_yet = |state: &mut State| state.over.is_none() && !ready(state);
        self.shared.news.wait_while(self.shared.lock(), not_yet).unwrap_or_else(PoisonError::into_inner)
    }
}

/// What remains of a session for its connector.
#[derive(Debug)]
pub(super) struct Ended(Arc<Shared>);

impl Ended {
    /// Why it ended, as far as that is known.
    pub(super) fn tell(self) -> (Option<io::Error>, Option<Bye>) {
        let state = self.0.lock();
        (state.over.as_ref().and_then(|over| over.as_ref().map(Failure::to_error)), state.goodbye)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.engine.is_up() {
            state.engine.bye(Reason::Done, Duration::ZERO);
        }
        state.ended = true;
        drop(state);
        self.shared.wake();
    }
}

fn greet(stream: &mut (impl Read + Write + AsSock), engine: &mut Engine) -> io::Result<()> {
    let mut buffer = [0; 512];
    while engine.peer.is_none() {
        write_out(stream, engine)?;
        let writing = !engine.unwritten().is_empty();
        wait(stream.as_sock(), true, writing, None, clock::until(engine.deadline()))?;
        match read(stream, &mut buffer)? {
            Some(0) => return Err(closed()),
            Some(length) => {
                engine.arrived(&buffer[..length]);
                engine.greeted()?;
            }
            None => engine.tick()?,
        }
    }
    Ok(())
}

/// The thread.
fn drive(mut stream: impl Read + Write + AsSock, shared: &Shared) {
    let ended = turn(&mut stream, shared);
    // What is left is a goodbye at most.
    let mut state = shared.lock();
    let _ = write_out(&mut stream, &mut state.engine);
    state.over = Some(ended.err().map(|error| Failure::of(&error)));
    drop(state);
    // The peer sees the end before the program hears of it.
    drop(stream);
    shared.news.notify_all();
}

fn turn(stream: &mut (impl Read + Write + AsSock), shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    let mut leave_by = None;
    loop {
        let mut state = shared.lock();
        deliver(&mut state)?;
        let leaving = !state.engine.is_up();
        let ticked = state.engine.tick();
        if leaving {
            // After a goodbye nobody is waited for long, and nobody is missed.
            let by = *leave_by.get_or_insert_with(|| Instant::now() + FAREWELL);
            if ticked.is_err() || state.engine.is_over() || Instant::now() >= by {
                return Ok(());
            }
        }
        ticked?;
        write_out(stream, &mut state.engine)?;
        let full = state.inbox.len() >= QUEUE && !state.ended;
        state.engine.set_full(full);
        let writing = !state.engine.unwritten().is_empty();
        let farewell = leave_by.map(|by| by.saturating_duration_since(Instant::now()));
        let patience = [clock::until(state.engine.deadline()), farewell].into_iter().flatten().min();
        drop(state);
        shared.news.notify_all();

        let seen = wait(stream.as_sock(), !full, writing, Some(&shared.wake), patience)?;
        let readable = !full && seen;
        if readable && let Some(length) = read(stream, &mut buffer)? {
            let mut state = shared.lock();
            match length {
                0 if state.engine.is_up() => return Err(closed()),
                0 => return Ok(()),
                _ => state.engine.arrived(&buffer[..length]),
            }
        }
    }
}

/// Hands the program what has arrived, as far as it takes it.
fn deliver(state: &mut State) -> io::Result<()> {
    while state.inbox.len() < QUEUE || state.ended {
        match state.engine.next()? {
            Some(Told::Message(_)) if state.ended => {} // the program has dropped its session
            Some(Told::Message(message)) => state.inbox.push_back(message),
            Some(Told::End) => state.ended = true,
            Some(Told::Bye(bye)) => {
                state.goodbye = Some(bye);
                state.ended = true;
                state.engine.bye(Reason::Done, Duration::ZERO);
            }
            None => break,
        }
    }
    Ok(())
}

/// Reads what there is; `None` for nothing now.
fn read(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match stream.read(buffer) {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Writes as much as the stream takes now.
fn write_out(stream: &mut impl Write, engine: &mut Engine) -> io::Result<()> {
    while !engine.unwritten().is_empty() {
        match stream.write(engine.unwritten()) {
            Ok(written) => engine.wrote(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
