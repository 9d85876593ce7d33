//! Accepting connections, within the limits.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deadpeer_core::session::{Bye, Frame, Reason};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::crew::Hand;
use crate::event::{Event, Refusal};
use crate::place::Lookup;
use crate::shared::Shared;
use crate::worker::Order;

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// While there are no descriptors, it is tried again after this.
const AGAIN: Duration = Duration::from_millis(100);
/// The same hindrance is told once in this time.
const QUIET: Duration = Duration::from_secs(10);
/// So long, and so many at a time, refused connections stay open after the goodbye.
const LINGER: Duration = Duration::from_millis(500);
const LINGERING: usize = 64;
/// Who is refused for want of room is asked to come back no sooner.
const BACK_IN: Duration = Duration::from_secs(5);

/// The thread that accepts, and hands each connection to the next loop in turn. One thread, so that the limits
/// are kept exactly.
#[derive(Debug)]
pub(crate) struct Door {
    closing: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    pub address: SocketAddr,
}

impl Door {
    /// Listens. `place`: what each connection is to be joined to; `greets`: who is refused is told so in the
    /// session's protocol.
    ///
    /// # Errors
    /// Of socket(2), bind(2), listen(2).
    pub(crate) fn open(
        listen: SocketAddr,
        shared: Arc<Shared>,
        hands: Vec<Hand>,
        place: Option<Lookup>,
        greets: bool,
    ) -> io::Result<Self> {
        let mut listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let closing = Arc::new(AtomicBool::new(false));
        let porter = Porter {
            listener,
            poll,
            closing: Arc::clone(&closing),
            shared,
            hands,
            next: 0,
            place,
            greets,
            spare: spare(),
            told: None,
            refused: VecDeque::new(),
        };
        let thread = std::thread::Builder::new().name("accept".to_owned()).spawn(|| porter.run())?;
        Ok(Self { closing, waker, thread: Some(thread), address })
    }

    /// Accepts no more.
    pub(crate) fn close(&mut self) {
        self.closing.store(true, Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

struct Porter {
    listener: TcpListener,
    poll: Poll,
    closing: Arc<AtomicBool>,
    shared: Arc<Shared>,
    hands: Vec<Hand>,
    next: usize,
    place: Option<Lookup>,
    greets: bool,
    /// A descriptor in reserve: where there are no more, it is given up for a moment to accept and refuse those
    /// who would else wait in the queue, and find out nothing.
    spare: Option<File>,
    told: Option<Instant>,
    /// Refused connections: closed a little later, because bytes that arrive after a close turn it into a reset, and some
    /// systems then discard the goodbye that the client has not read.
    refused: VecDeque<(Instant, TcpStream)>,
}

impl Porter {
    fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut patience = None;
        while !self.closing.load(Relaxed) {
            if let Err(error) = self.poll.poll(&mut events, patience)
                && error.kind() != io::ErrorKind::Interrupted
            {
                self.hindered(&error);
                return;
            }
            patience = self.accept_all();
            self.let_go();
            if !self.refused.is_empty() {
                patience = Some(patience.unwrap_or(LINGER).min(LINGER));
            }
        }
    }

    /// Accepts until nobody waits. When to try again, if something is in the way.
    fn accept_all(&mut self) -> Option<Duration> {
        while !self.closing.load(Relaxed) {
            match self.listener.accept() {
                Ok((socket, address)) => self.accepted(socket, address),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return None,
                    // It was gone before it was accepted (accept(2)).
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.hindered(&error);
                        if !self.refuse_one() {
                            return Some(AGAIN);
                        }
                    }
                },
            }
        }
        None
    }

    fn accepted(&mut self, socket: TcpStream, address: SocketAddr) {
        if let Err(why) = self.shared.admit(address.ip()) {
            self.refuse(socket, true);
            return self.shared.tell(Event::Refused { address, why });
        }
        let places = match self.place.as_mut().map(Lookup::addresses) {
            None => Arc::default(),
            Some(Ok(places)) => places,
            Some(Err(error)) => {
                self.refuse(socket, true);
                return self.shared.turn_away(address, Refusal::Unreachable(error));
            }
        };
        let hand = &self.hands[self.next % self.hands.len()];
        self.next = self.next.wrapping_add(1);
        hand.order(Order::Accepted { socket, address, places });
    }

    /// Closes the connections that were refused some time ago.
    fn let_go(&mut self) {
        while self.refused.len() > LINGERING
            || self.refused.front().is_some_and(|(since, _)| since.elapsed() >= LINGER)
        {
            if let Some((_, mut socket)) = self.refused.pop_front() {
                while matches!(socket.read(&mut [0; 256]), Ok(1..)) {}
            }
        }
    }

    /// Tells somebody who speaks the protocol that there is no room, as far as that can be done at once.
    fn refuse(&mut self, mut socket: TcpStream, linger: bool) {
        if self.greets {
            let mut bytes = Vec::new();
            Frame::Bye(Bye::new(Reason::Overloaded).back_in(BACK_IN)).encode(&mut bytes);
            let _ = socket.write_all(&bytes);
            // Unread bytes would turn the close into a reset, which may overtake the goodbye.
            let _ = socket.read(&mut [0; 256]);
            if linger && socket.shutdown(std::net::Shutdown::Write).is_ok() {
                self.refused.push_back((Instant::now(), socket));
                self.let_go();
            }
        } else {
            crate::worker::reset_on_close(&socket);
        }
    }

    fn hindered(&mut self, error: &io::Error) {
        if self.told.is_none_or(|told| told.elapsed() >= QUIET) {
            self.told = Some(Instant::now());
            let advice = "raise the limit of open files (ulimit -n, LimitNOFILE=) or lower that of sessions";
            self.shared.tell(Event::Hindered { why: format!("accept: {error}; {advice}") });
        }
    }

    /// Accepts one with the spare descriptor, and refuses it. Says whether that was possible.
    fn refuse_one(&mut self) -> bool {
        drop(self.spare.take());
        let accepted = self.listener.accept();
        if let Ok((socket, address)) = accepted {
            // Its descriptor is the spare one, which is needed again.
            self.refuse(socket, false);
            let limit = self.shared.config.limits.sessions;
            self.shared.tell(Event::Refused { address, why: Refusal::Full { limit } });
        } else {
            // Somebody else took it, or there is nobody.
        }
        self.spare = spare();
        self.spare.is_some()
    }
}

/// Any descriptor will do.
fn spare() -> Option<File> {
    File::open(if cfg!(windows) { "NUL" } else { "/dev/null" }).ok()
}
