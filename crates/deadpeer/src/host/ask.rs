//! Asking peers, many at once, without ever holding their sockets across a wait.
//!
//! One thread and a queue of due events: a question, a look whether it was answered, the end of waiting.
//! Each socket is duplicated for the microseconds that a question takes; answers are read from the kernel's
//! list. Nothing that this leaves behind could end a connection, now or later:
//!
//! 1. The window probe (CAP_NET_ADMIN) is counted nowhere and moves no timer.
//! 2. Without that right, keepalive is borrowed for one probe, only where keepalive, user timeout and
//!    counted probes are all off, and given back on every way out.
//! 3. Killed in between, the borrowed keepalive would need 48 days of silence to end a connection.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_core::{Answer, Asked, Facts, Known, TcpState, Why};
use deadpeer_os::linux::ask::{self, Changed};
use deadpeer_os::linux::diag::Diag;
use deadpeer_os::linux::foreign;
use deadpeer_os::linux::tcp_info::{CAPACITY, TcpInfo};

use super::census;
use super::connection::Connection;
use super::pace::{Pace, Tokens};

/// How many connections are done, of how many; told while asking goes on.
pub type Progress<'p> = &'p mut dyn FnMut(usize, usize);

/// Is told of each connection when its asking is over.
pub(super) type Done<'d> = &'d mut dyn FnMut(&Connection);

/// How long a borrowed keepalive timer gets to fire: more than two ticks at the slowest usual HZ.
const BORROWED_FOR: Duration = Duration::from_millis(30);
/// What keepalive waits for at least before it asks.
const SILENCE: Duration = Duration::from_secs(1);
/// The first look comes right after the question: on this host an answer is there at once.
const FIRST_LOOK: Duration = Duration::from_micros(500);
const LONGEST_BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// How long to sleep at most before looking whether we are to stop.
const NAP: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Borrowed keepalive is given back: before anything else that is due.
    GiveBack,
    Look {
        wait: Duration,
    },
    Question,
}

/// What is known of one connection while it is asked.
struct Target<'c> {
    connection: &'c mut Connection,
    tries: u8,
    first: Option<Instant>,
    last: Option<Instant>,
    /// Segments that had come before the first question.
    segments_before: u32,
    borrowed: Option<Changed>,
    done: bool,
}

/// A run of questions.
pub(super) struct Asking<'c> {
    pace: Pace,
    targets: Vec<Target<'c>>,
    due: BinaryHeap<Reverse<(Instant, Event, usize)>>,
    diags: BTreeMap<u64, Result<Diag, Why>>,
    done: usize,
    tell: Done<'c>,
}

/// Asks the peers of all ESTABLISHED `connections` and writes what came of it into their facts.
pub(super) fn ask(
    connections: &mut [Connection],
    pace: Pace,
    cancel: &AtomicBool,
    progress: Progress<'_>,
    tell: Done<'_>,
) {
    let mut asking = Asking::new(connections, pace, tell);
    let mut tokens = Tokens::new(pace.per_second, Instant::now());
    let total = asking.targets.len();
    while let Some(&Reverse((at, event, index))) = asking.due.peek() {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        let now = Instant::now();
        if at > now {
            progress(asking.done, total);
            thread::sleep((at - now).min(NAP));
            continue;
        }
        asking.due.pop();
        match event {
            Event::GiveBack => asking.give_back(index),
            Event::Look { wait } => asking.look(index, wait),
            Event::Question => match tokens.take(now) {
                Ok(()) => asking.question(index),
                Err(later) => asking.due.push(Reverse((later, event, index))),
            },
        }
    }
    progress(asking.done, total);
    asking.stop();
}

impl<'c> Asking<'c> {
    fn new(connections: &'c mut [Connection], pace: Pace, tell: Done<'c>) -> Self {
        let now = Instant::now();
        let mut asking =
            Self { pace, targets: Vec::new(), due: BinaryHeap::new(), diags: BTreeMap::new(), done: 0, tell };
        for connection in connections {
            match (connection.row.facts.state, connection.owner.why()) {
                (TcpState::Established, None) => {
                    asking.due.push(Reverse((now, Event::Question, asking.targets.len())));
                    asking.targets.push(Target {
                        connection,
                        tries: 0,
                        first: None,
                        last: None,
                        segments_before: 0,
                        borrowed: None,
                        done: false,
                    });
                }
                (TcpState::Established, Some(why)) => {
                    connection.row.facts.asked = Some(Known::Not(why));
                    (asking.tell)(connection);
                }
                // Only established connections can be asked; the others' states speak for themselves.
                _ => {}
            }
        }
        asking
    }

    fn question(&mut self, index: usize) {
        let target = &mut self.targets[index];
        if target.done {
            return;
        }
        match target.question() {
            Ok(()) => {
                let now = target.last.unwrap_or_else(Instant::now);
                if target.borrowed.is_some() {
                    self.due.push(Reverse((now + BORROWED_FOR, Event::GiveBack, index)));
                } else if target.tries < self.pace.tries {
                    self.due.push(Reverse((now + self.pace.gap, Event::Question, index)));
                }
                self.look(index, FIRST_LOOK);
            }
            // Lost between two questions: the next look finds out how.
            Err(Why::NotEstablished | Why::SocketGone | Why::DescriptorReused) if target.tries > 0 => {}
            Err(why) if target.tries == 0 => self.finish(index, Known::Not(why)),
            Err(_) => {}
        }
    }

    /// Looks whether an answer came; if not, again after `wait`.
    fn look(&mut self, index: usize, wait: Duration) {
        let target = &mut self.targets[index];
        let (false, Some(first), Some(last)) = (target.done, target.first, target.last) else { return };
        let now = Instant::now();
        let inode = target.connection.namespace.inode();
        let diag = self
            .diags
            .entry(inode)
            .or_insert_with(|| census::open(&target.connection.namespace).map_err(|_| Why::Failed));
        let seen = match diag {
            Ok(diag) => diag.again(&target.connection.row),
            Err(why) => {
                let why = *why;
                return self.finish(index, Known::Not(why));
            }
        };
        let (tries, over) = (target.tries, now.saturating_duration_since(first));
        let asked = |answer| Asked { tries, over, answer };
        match seen {
            // A look that failed tells nothing; the next one may.
            Err(_) => {}
            Ok(None) => {
                let answer = target.how_it_ended(now.saturating_duration_since(last));
                target.connection.row.facts.state = TcpState::Close;
                let asked = asked(answer);
                return self.finish(index, Known::Is(asked));
            }
            Ok(Some(row)) => {
                let age = row.facts.last_heard.value().unwrap_or(Duration::MAX);
                let segments = row.facts.segments_in.value().unwrap_or(target.segments_before);
                let heard = segments != target.segments_before || age < now.saturating_duration_since(first);
                target.update(row.facts);
                if heard {
                    let asked = asked(Answer::Heard(answer_time(now, age, first, last)));
                    return self.finish(index, Known::Is(asked));
                }
            }
        }
        let deadline = first + self.pace.timeout;
        if now >= deadline {
            let asked = asked(Answer::None);
            return self.finish(index, Known::Is(asked));
        }
        // One look in turn after each question, not one per question.
        if target.tries == 1 || wait > FIRST_LOOK {
            let again = Event::Look { wait: (wait * 2).min(LONGEST_BETWEEN_LOOKS) };
            self.due.push(Reverse(((now + wait).min(deadline), again, index)));
        }
    }

    fn finish(&mut self, index: usize, asked: Known<Asked>) {
        let target = &mut self.targets[index];
        if !target.done {
            target.done = true;
            target.connection.row.facts.asked = Some(asked);
            self.done += 1;
            (self.tell)(target.connection);
        }
    }

    fn give_back(&mut self, index: usize) {
        let target = &mut self.targets[index];
        let Some(changed) = target.borrowed.take() else { return };
        let segments = target.segments_before;
        // The owner may have closed the socket meanwhile; then there is nothing to give back.
        let left = target.with_socket(|sock| {
            let left = ask::probe_has_left(sock, segments);
            ask::undo(sock, changed);
            left
        });
        if left == Ok(Ok(false)) && !target.done {
            // The peer was heard less than a second ago, so keepalive kept quiet: not yet asked.
            (target.tries, target.first, target.last) = (0, None, None);
            self.due.push(Reverse((Instant::now() + SILENCE, Event::Question, index)));
        }
    }

    /// Gives everything back and says of those that were not finished that we were interrupted.
    fn stop(mut self) {
        for index in 0..self.targets.len() {
            self.give_back(index);
            self.finish(index, Known::Not(Why::Interrupted));
        }
    }
}

impl Target<'_> {
    fn with_socket<R>(&self, act: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> R) -> Result<R, Why> {
        let Known::Is(owner) = &self.connection.owner else { return Err(Why::NoOwner) };
        foreign::Process::open(owner.process.pid)?.with(owner.fd, self.connection.row.cookie, act)
    }

    fn question(&mut self) -> Result<(), Why> {
        let asked_at = Instant::now();
        let segments = match self.with_socket(ask::window_probe)? {
            Ok(segments) => segments,
            Err(Why::NoNetAdmin) => self.borrow_keepalive()?,
            Err(why) => return Err(why),
        };
        if self.tries == 0 {
            self.segments_before = segments;
        }
        self.tries += 1;
        self.first.get_or_insert(asked_at);
        self.last = Some(asked_at);
        Ok(())
    }

    fn borrow_keepalive(&mut self) -> Result<u32, Why> {
        let (segments, changed) = self.with_socket(ask::keepalive_probe)??;
        self.borrowed = Some(changed);
        Ok(segments)
    }

    /// The connection is no longer listed: did its peer reset it, or did its owner close it?
    fn how_it_ended(&self, after: Duration) -> Answer {
        let closed_by_a_reset = self.with_socket(|sock| {
            let mut buffer = [0; CAPACITY];
            TcpInfo::read(sock, &mut buffer).is_ok_and(|info| info.state() == Some(TcpState::Close))
        });
        // The owner still holds it and the kernel has ended it.
        if closed_by_a_reset == Ok(true) { Answer::Reset(after) } else { Answer::Gone }
    }

    /// Takes over what was seen now, and keeps what only the first look told.
    fn update(&mut self, now: Facts) {
        let facts = &mut self.connection.row.facts;
        *facts = Facts {
            keepalive_interval: facts.keepalive_interval,
            rto_max: facts.rto_max,
            path: facts.path,
            ..now
        };
    }
}

/// How long the answer took. The kernel tells its age in ticks; the moment we looked bounds it.
fn answer_time(now: Instant, age: Duration, first: Instant, last: Instant) -> Duration {
    let heard_at = now.checked_sub(age).unwrap_or(first);
    let question = if heard_at >= last { last } else { first };
    let bound = now.saturating_duration_since(question);
    match heard_at.saturating_duration_since(question) {
        // Within the tick of the question itself: what we know is that it was there when we looked.
        Duration::ZERO => bound,
        took => took.min(bound),
    }
}
