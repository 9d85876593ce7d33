//! Asking peers, many at once, without ever holding their sockets across a wait.
//!
//! One thread and a queue of due events: a question, a look whether it was answered, the end of waiting.
//! Each socket is duplicated for the microseconds that a question takes; answers are read from the kernel's
//! list. Nothing that this leaves behind could end a connection, now or later:
//!
//! 1. The window probe (CAP_NET_ADMIN) is counted nowhere and moves no timer.
//! 2. Without that right, and in FIN_WAIT2, keepalive is borrowed for one probe, only where keepalive, user
//!    timeout, counted probes and data in flight are all absent, and given back on every way out.
//! 3. Killed in between, the borrowed keepalive would need 48 days of silence to end a connection.
//!
//! A peer that answers is done at once. A silent one is asked until its silence is a [`Proof`], or until the
//! timeout: how many tries that takes follows from the losses that this run and the connections themselves have
//! seen on the way to it ([`losses`]).

mod answer;
mod losses;
mod queue;
mod target;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_core::{Known, Proof, TcpState, Why};
use deadpeer_os::linux::diag::{Diag, Row};

use super::census;
use super::connection::Connection;
use super::namespace::Namespace;
use super::pace::{Pace, Tokens};
use losses::Losses;
use queue::{Event, Queue};
use target::{Asking, Target};

/// How many connections are done, of how many; told while asking goes on.
pub type Progress<'p> = &'p mut dyn FnMut(usize, usize);

/// Is told of each connection when its asking is over.
pub(super) type Done<'d> = &'d mut dyn FnMut(&Connection);

/// Questions of runs before this one that nobody has answered yet, by the socket's cookie: an answer may belong to one
/// of them.
pub(super) type Earlier = BTreeMap<u64, Vec<Instant>>;

/// How long a borrowed keepalive timer gets to fire at most: more than two ticks at the slowest usual HZ. It is given
/// back as soon as the question has left.
const BORROWED_FOR: Duration = Duration::from_millis(30);
const BORROWED_AT_LEAST: Duration = Duration::from_millis(5);
/// What keepalive waits for at least before it asks.
const SILENCE: Duration = Duration::from_secs(1);
/// The first look comes right after the question: on this host an answer is there at once.
const FIRST_LOOK: Duration = Duration::from_micros(500);
/// The kernel tells when an answer came, so later looks lose nothing but time: with more than [`CROWD`] peers being
/// asked they come less often, up to [`RARELY`] apart.
const LONGEST_BETWEEN_LOOKS: Duration = Duration::from_millis(250);
const CROWD: usize = 1_000;
const RARELY: Duration = Duration::from_secs(2);
/// How long to sleep at most before looking whether we are to stop.
const NAP: Duration = Duration::from_millis(20);
/// Questions that leave before it is looked for answers again.
const AT_ONCE: usize = 64;

/// Asks the peers of all `connections` that can be asked and writes what came of it into their facts.
pub(super) fn ask(
    connections: &mut [Connection],
    pace: Pace,
    cancel: &AtomicBool,
    progress: Progress<'_>,
    tell: Done<'_>,
    earlier: &mut Earlier,
) {
    let mut run = Run::new(connections, pace, tell, earlier);
    let mut tokens = Tokens::new(pace.per_second, Instant::now());
    let total = run.targets.len();
    while run.done < total && !cancel.load(Ordering::Relaxed) {
        let now = Instant::now();
        let mut busy = false;
        while let Some((event, index, at)) = run.queue.next_due(now) {
            run.handle(event, index, at);
            busy = true;
        }
        let free = run.ask_waiting(&mut tokens, now);
        progress(run.done, total);
        let Some(at) = run.queue.next_at().into_iter().chain(free).min() else { break };
        if !busy {
            thread::sleep(at.saturating_duration_since(Instant::now()).min(NAP));
        }
    }
    progress(run.done, total);
    run.stop(earlier);
}

/// A run of questions.
struct Run<'c> {
    pace: Pace,
    targets: Vec<Target<'c>>,
    queue: Queue,
    losses: Losses,
    /// Peers whose addresses may be this host's own: it takes a question to the kernel to know.
    here: BTreeMap<losses::Path, bool>,
    diags: BTreeMap<u64, Result<Diag, Why>>,
    done: usize,
    tell: Done<'c>,
}

impl<'c> Run<'c> {
    fn new(connections: &'c mut [Connection], pace: Pace, tell: Done<'c>, earlier: &mut Earlier) -> Self {
        let now = Instant::now();
        let losses = Losses::of(connections);
        let (targets, queue, diags) = (Vec::new(), Queue::default(), BTreeMap::new());
        let here = BTreeMap::new();
        let mut run = Self { pace, targets, queue, losses, here, diags, done: 0, tell };
        for connection in connections {
            let facts = &connection.row.facts;
            // In all other states there is nothing to ask, or no way to: they speak for themselves.
            let open = match facts.state {
                TcpState::Established => true,
                TcpState::FinWait2 => facts.has_descriptor,
                _ => false,
            };
            if !open {
                continue;
            }
            if let Some(why) = connection.owner.why() {
                connection.row.facts.asked = Some(Known::Not(why));
                (run.tell)(connection);
                continue;
            }
            run.queue.push(now, Event::Question, run.targets.len());
            let before = earlier.remove(&connection.row.cookie.0).unwrap_or_default();
            run.targets.push(Target::new(connection, before));
        }
        run
    }

    fn handle(&mut self, event: Event, index: usize, at: Instant) {
        match event {
            Event::GiveBack => self.give_back(index),
            Event::Look { wait } => self.look(index, wait),
            Event::Question => self.queue.wait_for_a_place(index, at, self.targets[index].has_begun()),
        }
    }

    /// Sends questions for which it is time, as far as the pace has places; tells when the next place is free.
    fn ask_waiting(&mut self, tokens: &mut Tokens, now: Instant) -> Option<Instant> {
        for _ in 0..AT_ONCE {
            let (index, since) = self.queue.waiting()?;
            let target = &mut self.targets[index];
            if target.is_done() {
                self.queue.pop_waiting();
                continue;
            }
            if target.sent() >= target.wanted(self.pace, target.proof(&self.losses)) {
                // Enough for now; more may be needed if the path turns out to be worse.
                let again = now + target.gap(self.pace);
                self.queue.pop_waiting();
                self.queue.push(again, Event::Question, index);
                continue;
            }
            if let Err(later) = tokens.take(now) {
                return Some(later);
            }
            self.queue.pop_waiting();
            self.question(index, since);
        }
        Some(now)
    }

    fn question(&mut self, index: usize, since: Instant) {
        let target = &mut self.targets[index];
        let now = Instant::now();
        target.was_held(now.saturating_duration_since(since));
        let gap = target.gap(self.pace);
        match target.question() {
            Ok(()) => {
                let now = Instant::now();
                if target.has_borrowed() {
                    self.queue.push(now + BORROWED_AT_LEAST, Event::GiveBack, index);
                } else {
                    self.queue.push(now + gap, Event::Question, index);
                }
                self.look(index, FIRST_LOOK);
            }
            Err(why) if target.sent() == 0 => self.finish(index, Asking::Refused(why)),
            // Lost between two questions: the next look finds out how.
            Err(_) => {}
        }
    }

    /// Looks whether an answer came; if not, again after `wait`.
    fn look(&mut self, index: usize, wait: Duration) {
        let target = &mut self.targets[index];
        if target.is_done() || target.sent() == 0 {
            return;
        }
        let row = target.row();
        let seen = match look_at(&mut self.diags, target.namespace(), row) {
            Ok(seen) => seen,
            Err(Some(why)) => return self.finish(index, Asking::Refused(why)),
            // A look that failed tells nothing; the next one may.
            Err(None) => return self.look_again(index, wait),
        };
        let now = Instant::now();
        let Some(row) = seen else {
            let proof = target.proof(&self.losses);
            let ended = target.how_it_ended(self.pace, proof, now);
            return self.finish(index, ended);
        };
        let answered_before = target.has_answered();
        target.update(row.facts, now);
        if target.has_answered() && !answered_before {
            self.losses.add_tries(target.path(), target.credited());
        }
        if target.sent() >= usize::from(Proof::ON_THIS_HOST.tries)
            && let Some(path) = target.path()
        {
            let connection = target.connection();
            let here = *self.here.entry(path).or_insert_with(|| connection.is_to_this_host());
            target.is_here(here);
        }
        let proof = target.proof(&self.losses);
        if target.is_over(self.pace, proof, now) {
            let over = target.outcome(self.pace, proof, now);
            return self.finish(index, over);
        }
        self.look_again(index, wait);
    }

    fn look_again(&mut self, index: usize, wait: Duration) {
        // One look in turn for each connection, not one for each question.
        if self.targets[index].sent() == 1 || wait > FIRST_LOOK {
            let crowds = u32::try_from((self.targets.len() - self.done) / CROWD).unwrap_or(u32::MAX);
            let longest = LONGEST_BETWEEN_LOOKS.saturating_mul(crowds.max(1)).min(RARELY);
            let again = Event::Look { wait: (wait * 2).min(longest) };
            self.queue.push(Instant::now() + wait, again, index);
        }
    }

    fn finish(&mut self, index: usize, asking: Asking) {
        let target = &mut self.targets[index];
        if target.finish(asking) {
            self.done += 1;
            (self.tell)(target.connection());
        }
    }

    fn give_back(&mut self, index: usize) {
        let target = &mut self.targets[index];
        let now = Instant::now();
        let left = target.give_back(target.borrowed_for(now) >= BORROWED_FOR);
        if target.has_borrowed() {
            return self.queue.push(now + BORROWED_AT_LEAST, Event::GiveBack, index);
        }
        if left == Some(false) && !target.is_done() {
            // The peer was heard less than a second ago, so keepalive kept quiet: it was not asked yet.
            if target.tried_for(now) >= self.pace.timeout {
                return self.finish(index, Asking::Refused(Why::NeverSilent));
            }
            target.take_back();
            self.queue.push(now + SILENCE, Event::Question, index);
        }
    }

    /// Gives everything back and says of those that were not finished that we were interrupted.
    fn stop(mut self, earlier: &mut Earlier) {
        for index in 0..self.targets.len() {
            self.targets[index].give_back(true);
            self.finish(index, Asking::Refused(Why::Interrupted));
            let target = &mut self.targets[index];
            let open = target.open_questions();
            if !open.is_empty() {
                earlier.insert(target.row().cookie.0, open);
            }
        }
    }
}

/// A socket in the kernel's list, looked at again; `Ok(None)` when it is not there any more. Without a reason the
/// look failed, and another may not.
fn look_at(
    diags: &mut BTreeMap<u64, Result<Diag, Why>>,
    namespace: &Namespace,
    row: &Row,
) -> Result<Option<Row>, Option<Why>> {
    let diag =
        diags.entry(namespace.inode()).or_insert_with(|| census::open(namespace).map_err(|_| Why::Failed));
    match diag {
        Ok(diag) => diag.again(row).map_err(|_| None),
        Err(why) => Err(Some(*why)),
    }
}
