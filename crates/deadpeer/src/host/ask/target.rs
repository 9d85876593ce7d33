//! One connection while its peer is asked.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use deadpeer_core::{Answer, Asked, Facts, Known, Proof, Rules, TcpState, Why};
use deadpeer_os::linux::ask::{self, Changed};
use deadpeer_os::linux::diag::Row;
use deadpeer_os::linux::stream::readiness;
use deadpeer_os::linux::tcp_info::{CAPACITY, TcpInfo};

use super::super::connection::Connection;
use super::super::namespace::Namespace;
use super::super::pace::Pace;
use super::answer::{TICK, credit};
use super::losses::{Losses, Path};

/// How asking a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// It was asked.
    Done(Asked),
    /// It was not.
    Refused(Why),
}

/// A rate limit on answers (`tcp_invalid_ratelimit`) longer than this is not reckoned with.
const LONGEST_RATE_LIMIT: Duration = Duration::from_secs(30);
/// The last sign of life was an answer to a probe if data came and went at least this much earlier.
const EARLIER: Duration = Duration::from_secs(1);
/// From this many retransmissions on an answer is not the end: the data may be stuck.
const STUCK_FROM: u8 = 1;

/// Whether the peer's address is one of this host's.
pub(super) fn on_this_host(row: &Row) -> bool {
    row.peer.ip().is_loopback() || row.peer.ip() == row.local.ip() || row.facts.is_on_this_host()
}

/// What is known of one connection while it is asked.
pub(super) struct Target<'c> {
    connection: &'c mut Connection,
    on_this_host: bool,
    /// Questions of runs before this one that may still be answered.
    earlier: Vec<Instant>,
    /// When each question left.
    sent: Vec<Instant>,
    /// When the first was tried, whether it left or not.
    tried: Option<Instant>,
    /// How long our own pace has held questions back.
    held: Duration,
    /// How long silence has to last at least, where the peer may be limiting its answers.
    settled: Duration,
    /// Segments that had come: all, and those with data.
    segments: (u32, u32),
    /// An acknowledgement that nobody asked for may be under way: data or the owner's own probes are out.
    under_way: bool,
    first_answer: Option<Answer>,
    /// Questions that the first answer leaves open.
    open: Vec<Instant>,
    answers: u16,
    /// Questions that had left when the last answer was counted.
    answered: usize,
    /// Questions before the one that the first answer is credited to.
    unanswered: u64,
    /// Retransmissions at the first answer, and how many answers came since there were more.
    retransmits: u8,
    answers_since_stuck: u16,
    borrows: bool,
    borrowed: Option<Changed>,
    done: bool,
}

impl<'c> Target<'c> {
    pub(super) fn new(connection: &'c mut Connection, earlier: Vec<Instant>) -> Self {
        let facts = &connection.row.facts;
        Self {
            on_this_host: on_this_host(&connection.row),
            earlier,
            sent: Vec::new(),
            tried: None,
            held: Duration::ZERO,
            settled: rate_limited_for(facts),
            segments: segments(facts),
            under_way: facts.in_flight > 0 || facts.probes_out > 0,
            first_answer: None,
            open: Vec::new(),
            answers: 0,
            answered: 0,
            unanswered: 0,
            retransmits: 0,
            answers_since_stuck: 0,
            // The window probe is sent in ESTABLISHED only.
            borrows: facts.state != TcpState::Established,
            borrowed: None,
            done: false,
            connection,
        }
    }

    pub(super) const fn connection(&self) -> &Connection {
        self.connection
    }

    pub(super) const fn row(&self) -> &Row {
        &self.connection.row
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.connection.namespace
    }

    /// The way to the peer, where packets can get lost on it.
    pub(super) fn path(&self) -> Option<Path> {
        (!self.on_this_host).then(|| (self.connection.namespace.inode(), self.connection.row.peer.ip()))
    }

    /// Whether the peer's address turned out to be this host's own.
    pub(super) const fn is_here(&mut self, here: bool) {
        self.on_this_host = here;
    }

    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.tried.is_some()
    }

    pub(super) const fn has_borrowed(&self) -> bool {
        self.borrowed.is_some()
    }

    pub(super) const fn has_answered(&self) -> bool {
        self.first_answer.is_some()
    }

    /// Questions that went unanswered before the one that was answered first.
    pub(super) const fn credited(&self) -> u64 {
        self.unanswered
    }

    /// How many questions have left.
    pub(super) const fn sent(&self) -> usize {
        self.sent.len()
    }

    /// How long asking has been tried.
    pub(super) fn tried_for(&self, now: Instant) -> Duration {
        self.tried.map_or(Duration::ZERO, |tried| now.saturating_duration_since(tried))
    }

    /// A question waited for a place in the pace. The clock starts with the first, so that one does not count.
    pub(super) fn was_held(&mut self, waited: Duration) {
        if !self.sent.is_empty() {
            self.held += waited;
        }
    }

    /// What silence has to be, as far as the losses are known now.
    pub(super) fn proof(&self, losses: &Losses) -> Proof {
        let proof = match self.path() {
            None => Proof::ON_THIS_HOST,
            Some(path) => Proof::across(losses.on(path)),
        };
        Proof { over: proof.over.max(self.settled), ..proof }
    }

    pub(super) fn gap(&self, pace: Pace) -> Duration {
        pace.gap.max(self.connection.row.facts.question_gap())
    }

    /// How many questions to send, as far as is known now.
    pub(super) fn wanted(&self, pace: Pace, proof: Proof) -> usize {
        if self.borrows {
            return 1; // an unanswered one stays counted: see `deadpeer_os::linux::ask`
        }
        let most = pace.tries.map_or(usize::MAX, usize::from);
        if self.has_answered() {
            return most; // until it is known what becomes of the data
        }
        // Until silence has lasted long enough: an outage may end, and a peer that limits its answers may.
        let meanwhile = proof.over.as_millis().div_ceil(self.gap(pace).as_millis().max(1));
        usize::from(proof.tries).max(usize::try_from(meanwhile).unwrap_or(usize::MAX)).min(most)
    }

    pub(super) fn question(&mut self) -> Result<(), Why> {
        let asked_at = Instant::now();
        self.tried.get_or_insert(asked_at);
        if self.sent.is_empty() {
            // What came before the first question is no answer to it: a peer can wait for its turn.
            self.segments.1 = self.with_socket(data_segments)?.unwrap_or(self.segments.1);
        }
        let segments = match self.borrows {
            true => self.borrow_keepalive()?,
            false => match self.with_socket(ask::window_probe)? {
                Ok(segments) => segments,
                Err(Why::NoNetAdmin) => {
                    self.borrows = true;
                    self.borrow_keepalive()?
                }
                Err(why) => return Err(why),
            },
        };
        if self.sent.is_empty() {
            self.segments.0 = segments;
        }
        self.sent.push(asked_at);
        Ok(())
    }

    fn borrow_keepalive(&mut self) -> Result<u32, Why> {
        let (segments, changed) = self.with_socket(ask::keepalive_probe)??;
        self.borrowed = Some(changed);
        Ok(segments)
    }

    /// Gives borrowed keepalive back if the question has left, or `now` in any case. Tells whether it has left: `None`
    /// where nothing was borrowed, or nobody can tell.
    pub(super) fn give_back(&mut self, now: bool) -> Option<bool> {
        let changed = self.borrowed?;
        let segments = self.segments.0;
        // The owner may have closed the socket meanwhile; then there is nothing to give back.
        let left = self.with_socket(|sock| {
            let left = ask::probe_has_left(sock, segments);
            let done = now || left != Ok(false);
            if done {
                ask::undo(sock, changed);
            }
            (left, done)
        });
        if left.as_ref().map_or(true, |(_, done)| *done) {
            self.borrowed = None;
        }
        left.ok()?.0.ok()
    }

    /// How long keepalive has been borrowed.
    pub(super) fn borrowed_for(&self, now: Instant) -> Duration {
        self.sent.last().map_or(Duration::MAX, |&sent| now.saturating_duration_since(sent))
    }

    /// Questions that an answer may still come to.
    pub(super) fn open_questions(&self) -> Vec<Instant> {
        const REMEMBERED: usize = 30;
        let mut open = if self.has_answered() { self.open.clone() } else { self.questions() };
        open.drain(..open.len().saturating_sub(REMEMBERED));
        open
    }

    fn questions(&self) -> Vec<Instant> {
        self.earlier.iter().chain(&self.sent).copied().collect()
    }

    /// The question has not left.
    pub(super) fn take_back(&mut self) {
        self.sent.clear();
    }

    /// Takes over what was seen now, and keeps what only the first look told.
    pub(super) fn update(&mut self, now: Facts, at: Instant) {
        let facts = &mut self.connection.row.facts;
        *facts = Facts {
            keepalive_interval: facts.keepalive_interval,
            rto_max: facts.rto_max,
            path: facts.path,
            ..now
        };
        let (before, seen) = (self.segments, segments(&now));
        let all = seen.0.wrapping_sub(before.0);
        let data = seen.1.wrapping_sub(before.1);
        let age = now.last_heard.value().unwrap_or(Duration::MAX);
        self.segments = seen;
        self.under_way |= now.in_flight > 0;
        let Some(&first) = self.sent.first() else { return };
        // Kernels that count no segments tell ages.
        let came = all > 0 || data > 0 || age < at.saturating_duration_since(first);
        let heard_before = |moment| at.checked_sub(age).is_some_and(|heard| heard + TICK < moment);
        // The peer's own keepalive probes are counted and move no age.
        let probed = all > 0 && data == 0 && heard_before(first);
        // What comes sooner than a round trip was under way already: a probe, or an acknowledgement of something else.
        // Where nothing else was out the path has become faster.
        let least = now.least_rtt.unwrap_or_default();
        let answered_from = self.earlier.first().copied().unwrap_or(first) + least;
        let early = match probed {
            true => at < answered_from,
            false => self.under_way && heard_before(answered_from),
        };
        if !came || (early && data == 0) {
            return;
        }
        let age = if probed { Duration::ZERO } else { age };
        // Segments without data are acknowledgements.
        self.answer(at, age, !early && !probed && (data == 0 || all > data));
    }

    fn answer(&mut self, at: Instant, age: Duration, is_acknowledgement: bool) {
        let facts = self.connection.row.facts;
        if self.first_answer.is_none() {
            let mut all = self.questions();
            let credit = credit(at, age, &all, &facts);
            self.unanswered = credit.question.saturating_sub(self.earlier.len()) as u64;
            self.retransmits = facts.retransmits;
            if is_acknowledgement {
                all.drain(..credit.open);
            }
            self.open = all;
            self.first_answer =
                Some(if is_acknowledgement { Answer::Answered(credit.time) } else { Answer::Heard });
        }
        if self.sent.len() > self.answered {
            self.answered = self.sent.len();
            self.answers = self.answers.saturating_add(1);
            if facts.retransmits > self.retransmits {
                self.answers_since_stuck = self.answers_since_stuck.saturating_add(1);
            }
        }
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn is_over(&self, pace: Pace, proof: Proof, now: Instant) -> bool {
        let Some(&first) = self.sent.first() else { return false };
        let over = now.saturating_duration_since(first);
        // A single question is given at least the time that an answer takes.
        let timeout = match pace.tries {
            Some(1) => pace.timeout.max(self.connection.row.facts.patience()),
            _ => pace.timeout,
        };
        if over >= timeout.saturating_add(self.held) {
            return true;
        }
        if self.has_answered() {
            return !self.may_be_stuck();
        }
        if self.is_being_closed() {
            // Half-closed, it may still be answered: over a round trip that rose, say.
            let over = over >= proof.over && self.answerable(now) == self.sent.len();
            return over || !self.connection.row.facts.has_descriptor;
        }
        self.answerable(now) >= self.wanted(pace, proof).min(usize::from(proof.tries)) && over >= proof.over
    }

    /// The peer answers; whether its answers outweigh data that it does not acknowledge is still open.
    fn may_be_stuck(&self) -> bool {
        let facts = &self.connection.row.facts;
        let waiting = facts.in_flight > 0 && facts.retransmits >= STUCK_FROM.max(self.retransmits);
        let decided = facts.retransmits >= Rules::STUCK_RETRANSMISSIONS
            && self.answers >= Rules::ANSWERS
            && self.answers_since_stuck > 0;
        waiting && !decided && !self.borrows
    }

    /// Its owner has closed it meanwhile: no more can be asked.
    const fn is_being_closed(&self) -> bool {
        use TcpState::{Closing, FinWait1, LastAck, TimeWait};
        matches!(self.connection.row.facts.state, FinWait1 | Closing | LastAck | TimeWait)
    }

    /// Questions that had the time to be answered.
    fn answerable(&self, now: Instant) -> usize {
        let patience = self.connection.row.facts.patience();
        self.sent.iter().take_while(|&&sent| now.saturating_duration_since(sent) >= patience).count()
    }

    /// What came of asking.
    pub(super) fn outcome(&self, pace: Pace, proof: Proof, now: Instant) -> Asking {
        self.asked(pace, proof, now, self.first_answer.unwrap_or(Answer::None))
    }

    fn asked(&self, pace: Pace, proof: Proof, now: Instant, answer: Answer) -> Asking {
        let tries = match answer {
            Answer::None => self.answerable(now),
            _ => self.sent.len(),
        };
        let facts = &self.connection.row.facts;
        Asking::Done(Asked {
            tries: u16::try_from(tries).unwrap_or(u16::MAX),
            over: self.sent.first().map_or(Duration::ZERO, |&first| now.saturating_duration_since(first)),
            answer,
            answers: self.answers,
            stuck: if self.answers_since_stuck > 0 {
                facts.retransmits.saturating_sub(self.retransmits)
            } else {
                0
            },
            proof,
            proof_takes: proof.takes(self.gap(pace), facts.patience()),
        })
    }

    /// The connection is no longer listed: did its peer reset it, or has it ended in another way?
    pub(super) fn how_it_ended(&mut self, pace: Pace, proof: Proof, now: Instant) -> Asking {
        let before = self.segments.0;
        let seen = self.with_socket(|sock| {
            let mut buffer = [0; CAPACITY];
            let info = TcpInfo::read(sock, &mut buffer).ok()?;
            // poll(2) says that an error is pending, and does not take it.
            let error = readiness(sock).is_ok_and(|ready| ready.error);
            let came = info.segments_in().is_none_or(|segments| segments != before);
            (info.state() == Some(TcpState::Close)).then_some((error, came))
        });
        let since = self.sent.last().map_or(Duration::ZERO, |&last| now.saturating_duration_since(last));
        let answer = match seen {
            // A segment came, and an error is pending: a RST. Timers and this host's administrator send none.
            Ok(Some((true, true))) => Answer::Reset(since),
            Ok(Some(_)) => Answer::Ended,
            // The owner has let go of it.
            Ok(None) | Err(_) => Answer::Gone,
        };
        self.connection.row.facts.state = TcpState::Close;
        self.asked(pace, proof, now, answer)
    }

    /// Writes down what came of it; whether that is new.
    pub(super) fn finish(&mut self, asking: Asking) -> bool {
        if self.done {
            return false;
        }
        self.done = true;
        self.connection.row.facts.asked = Some(match asking {
            Asking::Done(asked) => Known::Is(asked),
            Asking::Refused(why) => Known::Not(why),
        });
        true
    }

    fn with_socket<R>(&self, act: impl FnOnce(BorrowedFd<'_>) -> R) -> Result<R, Why> {
        let Known::Is(owner) = &self.connection.owner else { return Err(Why::NoOwner) };
        owner.open()?.with(owner.fd, self.connection.row.cookie, act)
    }
}

fn segments(facts: &Facts) -> (u32, u32) {
    (facts.segments_in.value().unwrap_or(0), facts.data_segments_in.value().unwrap_or(0))
}

/// Segments with data that have come, as the socket itself tells.
fn data_segments(sock: BorrowedFd<'_>) -> Option<u32> {
    let mut buffer = [0; CAPACITY];
    TcpInfo::read(sock, &mut buffer).ok()?.data_segments_in()
}

/// How long a peer has to be silent that has answered a probe just now: it may answer no other before its rate
/// limit is over.
fn rate_limited_for(facts: &Facts) -> Duration {
    let Known::Is(heard) = facts.last_heard else { return Duration::ZERO };
    let earlier = |age: Known<Duration>| age.value().is_none_or(|age| age >= heard + EARLIER);
    match earlier(facts.last_received) && earlier(facts.last_sent) {
        true => LONGEST_RATE_LIMIT.saturating_sub(heard),
        false => Duration::ZERO,
    }
}
