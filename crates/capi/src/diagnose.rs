//! Every classic look at a connection, in one call.

use std::ffi::{c_char, c_int};

use library::{Cause, Diagnosis, Peek, Verdict, diagnose};

use crate::error::status;
use crate::loss::{answer, deadpeer_peer_lost, unaskable};
use crate::plain::{Out, deadpeer_range, known_millis, plain, text};
use crate::socket::{borrow, deadpeer_socket_t};

/// What is to be thought of a connection; the worst has the highest number.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum deadpeer_verdict {
    /// Something that this version has no number for: see the word.
    Other = 0,
    /// Heard from a moment ago. It proves the peer's kernel, not its application.
    Alive = 10,
    /// On its way to its end, as TCP means it to be.
    Closing = 20,
    /// Over. Its owner holds a socket that is connected to nothing.
    Ended = 25,
    /// Not yet connected.
    Opening = 30,
    /// Nothing wrong, nothing proven.
    Unverified = 40,
    /// The peer's kernel answers and nothing moves: somebody does not read, or does not accept.
    Stalled = 50,
    /// The peer has closed, the owner here has not.
    Leaked = 60,
    /// Tries go unanswered; not yet proof, or our own way is in doubt.
    Suspect = 70,
    /// Silent to enough tries for long enough while our own way is up, or reset.
    Dead = 80,
}

/// Why the verdict is what it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum deadpeer_cause {
    /// Something that this version has no number for: see the word.
    Other = 0,
    /// The peer was heard a moment ago.
    Heard = 1,
    /// The peer answered a question.
    Answered = 2,
    /// Nobody has tried anything.
    NothingProven = 3,
    /// Questions went unanswered.
    QuestionsUnanswered = 4,
    /// Retransmissions went unanswered.
    RetransmissionsUnanswered = 5,
    /// The socket's own keepalive probes went unanswered.
    KeepaliveUnanswered = 6,
    /// Probes of the shut window went unanswered.
    WindowProbesUnanswered = 7,
    /// Silence, but our own way to the peer is broken or in doubt.
    LocalPath = 8,
    /// The peer's host answered with a reset.
    Reset = 9,
    /// The peer's window stays shut.
    ShutWindow = 10,
    /// Our own program does not read.
    UnreadQueue = 11,
    /// Our own program does not accept.
    AcceptQueue = 12,
    /// The peer has closed.
    PeerClosed = 13,
    /// This side has closed, or both have.
    ClosedHere = 14,
    /// The handshake is under way.
    Connecting = 15,
    /// It waits for connections.
    Listening = 16,
    /// The peer answers, and does not acknowledge segments of this size: they are lost on the way.
    MtuBlackHole = 17,
    /// The connection has ended, and its owner has taken the reason.
    Unknown = 18,
}

/// What each of the classic methods says of a connection, and what follows from all of them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct deadpeer_diagnosis {
    /// `sizeof(deadpeer_diagnosis)`, set by the caller; what was filled in, set by the library.
    pub size: usize,
    /// What is to be thought of it.
    pub verdict: deadpeer_verdict,
    /// Why.
    pub cause: deadpeer_cause,
    /// How long ago anything last came from the peer, milliseconds, or `DEADPEER_UNKNOWN`.
    pub silent_ms: i64,
    /// For how long our tries have gone unanswered, milliseconds; 0: nothing waits for an answer.
    pub unanswered_ms: i64,
    /// The smoothed round-trip time, microseconds, or `DEADPEER_UNKNOWN`.
    pub round_trip_us: i64,
    /// Bytes sent or queued that the peer has not acknowledged.
    pub unacknowledged: i64,
    /// Bytes that arrived and that the program here has not read.
    pub unread: i64,
    /// The error that was pending, or 0. Asking took it from the socket: the next read says "end of file", so
    /// keep it.
    pub pending_error: c_int,
    /// poll(2): not 0: a read would not block. Data, end of file and errors all say so.
    pub readable: c_int,
    /// poll(2): not 0: a write would not block; it may fail.
    pub writable: c_int,
    /// poll(2): not 0: the peer has closed its sending side, or the connection has ended.
    pub peer_closed: c_int,
    /// recv(2) with MSG_PEEK: not 0: everything was read and the peer has closed, *or* the connection has
    /// ended and its error was taken before.
    pub end_of_file: c_int,
    /// Retransmissions of the oldest segment that have gone unanswered.
    pub retransmits: c_int,
    /// Probes (keepalive, shut window) that have gone unanswered.
    pub probes: c_int,
    /// How long a silent peer would go unnoticed from now on while nothing is in flight.
    pub idle: deadpeer_range,
    /// How long it would with data in flight.
    pub in_flight: deadpeer_range,
    /// The state of TCP in ss(8)'s words: "established". It proves nothing about the peer.
    pub state: [c_char; 16],
    /// The verdict as a word that stays: "suspect".
    pub verdict_word: [c_char; 32],
    /// The cause as a word that stays: "retransmissions-unanswered".
    pub cause_word: [c_char; 32],
    /// The evidence, the weightiest first, separated by commas.
    pub evidence: [c_char; 256],
}

plain!(deadpeer_diagnosis, ends with evidence: [c_char; 256]);

/// Looks at a connected TCP socket in every way that neither reads nor writes nor waits.
///
/// What none of them can see: whether a silent peer lives. Only waiting for the timers tells
/// (`deadpeer_lost`), and whether the peer's application works, only a heartbeat.
///
/// Returns 1 when the connection has ended, with `lost` filled in as `deadpeer_lost` does it; else 0. `lost`
/// may be NULL.
///
/// # Safety
/// `socket` is not closed meanwhile; `diagnosis` and `lost` are null or point to structures whose `size` is
/// right.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_diagnose(
    socket: deadpeer_socket_t,
    diagnosis: *mut deadpeer_diagnosis,
    lost: *mut deadpeer_peer_lost,
) -> c_int {
    status(|| {
        // SAFETY: as the caller promises. The structures first: an error that is taken must have a place to go.
        let (out, lost, socket) = unsafe { (Out::new(diagnosis)?, Out::optional(lost)?, borrow(socket)?) };
        let seen = diagnose(&socket).map_err(|error| unaskable(&error))?;
        out.fill(told(&seen));
        Ok(answer(lost, seen.lost.as_ref()))
    })
}

fn told(seen: &Diagnosis) -> deadpeer_diagnosis {
    let (facts, judgement) = (&seen.facts, &seen.judgement);
    let evidence: Vec<String> = judgement.evidence().map(ToString::to_string).collect();
    let peeked = match seen.peek {
        Peek::Failed(errno) => Some(errno),
        _ => None,
    };
    deadpeer_diagnosis {
        size: 0,
        verdict: judgement.verdict().into(),
        cause: judgement.cause().into(),
        silent_ms: known_millis(facts.last_heard.value()),
        unanswered_ms: facts.silence().map_or(0, |silence| crate::plain::millis(silence.over)),
        round_trip_us: facts
            .rtt
            .map_or(crate::plain::DEADPEER_UNKNOWN, |rtt| i64::try_from(rtt.as_micros()).unwrap_or(i64::MAX)),
        unacknowledged: i64::from(facts.in_flight) + i64::from(facts.unsent),
        unread: facts.unread.into(),
        pending_error: seen.pending_error.or(peeked).unwrap_or(0),
        readable: seen.readiness.readable.into(),
        writable: seen.readiness.writable.into(),
        peer_closed: seen.readiness.peer_closed.into(),
        end_of_file: (seen.peek == Peek::EndOfFile).into(),
        retransmits: facts.retransmits.into(),
        probes: facts.probes_out.into(),
        idle: seen.detection.idle.into(),
        in_flight: seen.detection.in_flight.into(),
        state: text(facts.state.as_str()),
        verdict_word: text(judgement.verdict().as_str()),
        cause_word: text(judgement.cause().as_str()),
        evidence: text(&evidence.join(", ")),
    }
}

impl From<Verdict> for deadpeer_verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Alive => Self::Alive,
            Verdict::Closing => Self::Closing,
            Verdict::Ended => Self::Ended,
            Verdict::Opening => Self::Opening,
            Verdict::Unverified => Self::Unverified,
            Verdict::Stalled => Self::Stalled,
            Verdict::Leaked => Self::Leaked,
            Verdict::Suspect => Self::Suspect,
            Verdict::Dead => Self::Dead,
            _ => Self::Other,
        }
    }
}

impl From<Cause> for deadpeer_cause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Heard => Self::Heard,
            Cause::Answered => Self::Answered,
            Cause::NothingProven => Self::NothingProven,
            Cause::QuestionsUnanswered => Self::QuestionsUnanswered,
            Cause::RetransmissionsUnanswered => Self::RetransmissionsUnanswered,
            Cause::KeepaliveUnanswered => Self::KeepaliveUnanswered,
            Cause::WindowProbesUnanswered => Self::WindowProbesUnanswered,
            Cause::LocalPath => Self::LocalPath,
            Cause::Reset => Self::Reset,
            Cause::ShutWindow => Self::ShutWindow,
            Cause::UnreadQueue => Self::UnreadQueue,
            Cause::AcceptQueue => Self::AcceptQueue,
            Cause::PeerClosed => Self::PeerClosed,
            Cause::ClosedHere => Self::ClosedHere,
            Cause::Connecting => Self::Connecting,
            Cause::Listening => Self::Listening,
            Cause::MtuBlackHole => Self::MtuBlackHole,
            Cause::Unknown => Self::Unknown,
            _ => Self::Other,
        }
    }
}
