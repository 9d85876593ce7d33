//! From facts to a verdict: the rules.

use core::time::Duration;

use crate::evidence::Evidence;
use crate::facts::{Answer, Asked, Facts, Hop, Others, Path, TcpState};
use crate::known::Known;
use crate::silence::{Silence, Tries};
use crate::verdict::{Cause, Judgement, Verdict};

/// The thresholds of the rules that a user may choose. What proves a death is not among them: see [`Proof`](crate::Proof).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A peer heard from within this time is alive.
    pub fresh: Duration,
    /// A connection that the peer has closed is leaked once nothing has come or gone for this long.
    pub leaked_after: Duration,
    /// A shut window, an unread queue, a full accept queue must stay so for this long.
    pub stalled_after: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(10),
            leaked_after: Duration::from_secs(10),
            stalled_after: Duration::from_secs(5),
        }
    }
}

impl Rules {
    /// Segments that were sent again this often while the peer answers are stuck, not unlucky.
    pub const STUCK_RETRANSMISSIONS: u8 = 4;
    /// This many answers show that small packets come through, both ways.
    pub const ANSWERS: u16 = 3;
    /// Any path carries segments of this size (RFC 9293, 3.7.1: the default MSS); larger ones can meet a link that
    /// is too narrow.
    const SMALL_SEGMENT: u32 = 536;
}

/// Judges a connection.
///
/// In this order: what its state says alone; how it ended while it was asked; our own failure to send; silence;
/// data that does not get through; a stall; the peer's close; a sign of life; nothing. Silence goes before a
/// fresh sign of life, because tries that go unanswered are the younger fact.
///
/// ```
/// use core::time::Duration;
/// use deadpeer_core::{Facts, Known, Rules, TcpState, Timer, Verdict, judge};
///
/// let facts = Facts {
///     last_heard: Known::Is(Duration::from_millis(9_200)),
///     timer: Timer::Retransmit(Duration::from_millis(100)),
///     rto: Duration::from_millis(800),
///     backoff: 2,
///     retransmits: 2,
///     in_flight: 1448,
///     ..Facts::new(TcpState::Established)
/// };
/// let judgement = judge(&facts, &Rules::default());
/// assert_eq!(judgement.verdict(), Verdict::Suspect);
/// assert_eq!(
///     judgement.evidence().next().unwrap().to_string(),
///     "2 retransmissions of 1448 bytes unanswered for 1.3 s"
/// );
/// ```
pub fn judge(facts: &Facts, rules: &Rules) -> Judgement {
    by_state(facts, rules)
        .or_else(|| by_end(facts))
        .or_else(|| by_own_failure(facts))
        .or_else(|| by_silence(facts))
        .or_else(|| by_stuck_data(facts))
        .or_else(|| by_stall(facts, rules))
        .or_else(|| by_close(facts, rules))
        .unwrap_or_else(|| by_life(facts, rules))
}

/// States in which nothing more can be found out about the peer, or need be.
fn by_state(facts: &Facts, rules: &Rules) -> Option<Judgement> {
    match facts.state {
        TcpState::Listen => Some(listener(facts, rules)),
        TcpState::SynSent | TcpState::SynReceived => {
            let state = Evidence::State(facts.state);
            Some(Judgement::new(Verdict::Opening, Cause::Connecting, state).and(silent(facts)))
        }
        TcpState::TimeWait => Some(closing(facts)),
        // Nobody holds it: the kernel ends it by itself, within minutes.
        TcpState::FinWait1 | TcpState::FinWait2 | TcpState::LastAck | TcpState::Closing
            if !facts.has_descriptor =>
        {
            Some(closing(facts))
        }
        _ => None,
    }
}

fn closing(facts: &Facts) -> Judgement {
    Judgement::new(Verdict::Closing, Cause::ClosedHere, Evidence::State(facts.state))
        .and(silent(facts))
        .and(last_heard(facts))
}

fn listener(facts: &Facts, rules: &Rules) -> Judgement {
    if let Some(queue) = facts.accept_queue
        && let Some(oldest) = queue.oldest
    {
        let evidence = Evidence::AcceptQueue { waiting: queue.waiting, limit: queue.limit, oldest };
        let stalled = queue.waiting > 0 && oldest >= rules.stalled_after;
        let verdict = if stalled { Verdict::Stalled } else { Verdict::Unverified };
        let cause = if stalled { Cause::AcceptQueue } else { Cause::Listening };
        return Judgement::new(verdict, cause, evidence);
    }
    Judgement::new(Verdict::Unverified, Cause::Listening, Evidence::State(facts.state))
}

/// How it ended while the peer was asked, or before.
fn by_end(facts: &Facts) -> Option<Judgement> {
    let judgement = match facts.asked {
        Some(Known::Is(Asked { answer: Answer::Reset(after), .. })) => {
            Judgement::new(Verdict::Dead, Cause::Reset, Evidence::Reset { after })
        }
        Some(Known::Is(Asked { answer: Answer::Gone, .. })) => {
            Judgement::new(Verdict::Closing, Cause::ClosedHere, Evidence::Gone)
        }
        Some(Known::Is(Asked { answer: Answer::Ended, .. })) => {
            Judgement::new(Verdict::Ended, Cause::Unknown, Evidence::Ended)
        }
        _ if facts.state == TcpState::Close => {
            Judgement::new(Verdict::Ended, Cause::Unknown, Evidence::State(facts.state))
        }
        _ => return None,
    };
    Some(judgement.and(last_heard(facts)))
}

fn by_own_failure(facts: &Facts) -> Option<Judgement> {
    let evidence = Evidence::CannotSend { bytes: facts.unsent };
    let judgement = Judgement::new(Verdict::Suspect, Cause::LocalPath, evidence).and(last_heard(facts));
    facts.cannot_send().then_some(judgement)
}

/// Silence is death when it meets its proof and our own way is up.
fn by_silence(facts: &Facts) -> Option<Judgement> {
    if answers(facts) > 0 {
        return None;
    }
    let proof = facts.proof();
    let heard_before = |silence: &Silence| facts.last_heard.value().is_none_or(|ago| ago >= silence.over);
    let proves = |silence: &Silence| is_a_question(silence.tries) && proof.is_met_by(*silence);
    let proving = facts.silences().find(|silence| proves(silence) && heard_before(silence));
    let silence = proving.or_else(|| facts.silence())?;
    let (verdict, cause) = match facts.path {
        Known::Is(path) if path.is_broken() || (proving.is_some() && !path.is_up()) => {
            (Verdict::Suspect, Cause::LocalPath)
        }
        // A way that nobody could look at is not known to be up.
        Known::Not(_) if proving.is_some() => (Verdict::Suspect, Cause::LocalPath),
        _ if proving.is_some() => (Verdict::Dead, unanswered(silence)),
        _ => (Verdict::Suspect, unanswered(silence)),
    };
    let how_sure = match (proving, proof.loss) {
        (Some(_), Some(loss)) => Some(Evidence::Certainty { tries: silence.count, loss }),
        (Some(_), None) => None,
        (None, _) if proof.is_met_by(silence) && !is_a_question(silence.tries) => {
            Some(Evidence::OnlyQuestionsProve)
        }
        (None, _) => Some(proof_takes(facts)),
    };
    Some(
        Judgement::new(verdict, cause, unanswered_tries(facts, silence))
            .and(how_sure)
            .and(last_heard(facts))
            .and(path(facts)),
    )
}

/// Whether a living peer must answer such tries. Data is another matter: a path that drops long segments and a
/// receiver without room (Linux 6.1 drops what does not fit, and says nothing) leave retransmissions unanswered for
/// ever, and the peer lives.
const fn is_a_question(tries: Tries) -> bool {
    !matches!(tries, Tries::Retransmissions)
}

fn proof_takes(facts: &Facts) -> Evidence {
    let proof = facts.proof();
    let over = match facts.asked {
        Some(Known::Is(asked)) => asked.proof_takes,
        _ => proof.takes(facts.question_gap(), facts.patience()),
    };
    Evidence::ProofTakes { tries: proof.tries, over }
}

const fn unanswered(silence: Silence) -> Cause {
    match silence.tries {
        Tries::Questions => Cause::QuestionsUnanswered,
        Tries::Retransmissions => Cause::RetransmissionsUnanswered,
        Tries::KeepaliveProbes => Cause::KeepaliveUnanswered,
        Tries::WindowProbes => Cause::WindowProbesUnanswered,
    }
}

const fn unanswered_tries(facts: &Facts, silence: Silence) -> Evidence {
    let Silence { tries, count, over } = silence;
    Evidence::Unanswered { tries, count, over, bytes: facts.in_flight }
}

/// The peer answers, and what was sent to it is not acknowledged: an answer must not outweigh that.
fn by_stuck_data(facts: &Facts) -> Option<Judgement> {
    let retransmitted = facts.retransmits >= Rules::STUCK_RETRANSMISSIONS && facts.in_flight > 0;
    let (Some(Known::Is(asked)), true) = (facts.asked, retransmitted && answers(facts) > 0) else {
        return None;
    };
    let segment = facts.segment_size().unwrap_or(0);
    let stuck = Evidence::Stuck { count: facts.retransmits, segment };
    // Right after an outage, too, a peer answers before the next retransmission is due: one must have left since.
    let proven = asked.answers >= Rules::ANSWERS && asked.stuck > 0;
    // Within one host no link is too narrow: there the receiver has no room and does not say so.
    let across = asked.proof.loss.is_some();
    let (verdict, cause) = match proven && across && segment > Rules::SMALL_SEGMENT {
        true => (Verdict::Stalled, Cause::MtuBlackHole),
        false => (Verdict::Suspect, Cause::RetransmissionsUnanswered),
    };
    Some(Judgement::new(verdict, cause, stuck).and(answered(facts)).and(last_heard(facts)))
}

fn by_stall(facts: &Facts, rules: &Rules) -> Option<Judgement> {
    let long = |over: &Duration| *over >= rules.stalled_after;
    if let Some(over) = facts.window_shut_for().filter(long) {
        // In flight is what the peer refuses although its window had allowed it.
        let bytes = facts.unsent.saturating_add(facts.in_flight);
        let evidence = Evidence::WindowShut { over, bytes };
        return Some(
            Judgement::new(Verdict::Stalled, Cause::ShutWindow, evidence)
                .and(answered(facts))
                .and(last_heard(facts)),
        );
    }
    let over = facts.unread_for().filter(long)?;
    let evidence = Evidence::Unread { over, bytes: facts.unread };
    Some(
        Judgement::new(Verdict::Stalled, Cause::UnreadQueue, evidence)
            .and(answered(facts))
            .and(last_heard(facts)),
    )
}

/// Half-closed connections: healthy while something moves.
fn by_close(facts: &Facts, rules: &Rules) -> Option<Judgement> {
    match facts.state {
        TcpState::CloseWait => {
            let ago = facts.quiet_for()?;
            let over = ago >= rules.leaked_after && facts.in_flight == 0 && facts.unsent == 0;
            let judgement = Judgement::new(Verdict::Leaked, Cause::PeerClosed, Evidence::PeerClosed { ago });
            over.then_some(judgement)
        }
        TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing => Some(closing(facts)),
        _ => None,
    }
}

fn by_life(facts: &Facts, rules: &Rules) -> Judgement {
    // A half-closed connection is an unusual one, and its state says so.
    let half_closed = matches!(facts.state, TcpState::CloseWait | TcpState::FinWait2);
    let state = half_closed.then_some(Evidence::State(facts.state));
    if let Some(answer) = answered(facts) {
        let cause = if answer == Evidence::HeardMeanwhile { Cause::Heard } else { Cause::Answered };
        return Judgement::new(Verdict::Alive, cause, answer).and(state);
    }
    let not_asked = match facts.asked {
        Some(Known::Not(why)) => Some(Evidence::NotAsked(why)),
        _ => None,
    };
    match facts.last_heard {
        Known::Is(ago) if ago <= rules.fresh => {
            Judgement::new(Verdict::Alive, Cause::Heard, Evidence::LastHeard(ago)).and(state)
        }
        Known::Is(ago) => Judgement::new(Verdict::Unverified, Cause::NothingProven, Evidence::LastHeard(ago))
            .and(not_asked)
            .and(state),
        Known::Not(_) => {
            Judgement::new(Verdict::Unverified, Cause::NothingProven, Evidence::State(facts.state))
                .and(not_asked)
        }
    }
}

/// How many signs of life came while the peer was asked.
fn answers(facts: &Facts) -> u16 {
    match facts.asked {
        Some(Known::Is(Asked { answer: Answer::Answered(_) | Answer::Heard, answers, .. })) => answers.max(1),
        _ => 0,
    }
}

fn answered(facts: &Facts) -> Option<Evidence> {
    match facts.asked {
        Some(Known::Is(Asked { answer: Answer::Answered(time), .. })) => Some(Evidence::Answered(time)),
        Some(Known::Is(Asked { answer: Answer::Heard, .. })) => Some(Evidence::HeardMeanwhile),
        _ => None,
    }
}

fn last_heard(facts: &Facts) -> Option<Evidence> {
    facts.last_heard.value().map(Evidence::LastHeard)
}

fn silent(facts: &Facts) -> Option<Evidence> {
    facts.silence().map(|silence| unanswered_tries(facts, silence))
}

fn path(facts: &Facts) -> Option<Evidence> {
    let Known::Is(path) = facts.path else { return None };
    Some(match (path.hop, path.others) {
        (Hop::Up | Hop::Unasked | Hop::PeerUnresolved, Others::Heard(count)) => Evidence::OthersHeard(count),
        (Hop::Up, Others::Silent(count)) => Evidence::OthersSilent(count),
        (hop, _) => Evidence::Path(hop),
    })
}

impl Path {
    /// Whether our own way is known to be down, or nobody behind the same first hop answers. A way that nobody looked
    /// at closely is neither up nor broken.
    pub const fn is_broken(self) -> bool {
        match (self.hop, self.others) {
            (Hop::LinkDown | Hop::NoRoute | Hop::NoAddress | Hop::GatewaySilent, _) => true,
            (Hop::Up | Hop::Unasked | Hop::PeerUnresolved, Others::Silent(_)) => true,
            (Hop::PeerUnresolved, Others::None) => true,
            (Hop::Up | Hop::Unasked, Others::None | Others::Heard(_)) => false,
            (Hop::PeerUnresolved, Others::Heard(_)) => false,
            (Hop::Loopback | Hop::MarkUnknown | Hop::Transparent, _) => false,
        }
    }

    /// Whether our own way to the peer is up: carrier and route are there, the first hop answered our question
    /// just now, and another peer through it was heard where there is one.
    ///
    /// A first hop that was not asked can be dead. A peer on our own link that does not answer there can be
    /// gone, or our side of the link can be cut. In both cases only another peer that was heard the same way
    /// tells.
    pub const fn is_up(self) -> bool {
        match (self.hop, self.others) {
            (Hop::Loopback, _) => true,
            (Hop::Up, Others::Heard(_) | Others::None) => true,
            (Hop::Unasked | Hop::PeerUnresolved, Others::Heard(_)) => true,
            (Hop::Up, Others::Silent(_)) | (Hop::Unasked | Hop::PeerUnresolved, _) => false,
            (Hop::LinkDown | Hop::NoRoute | Hop::NoAddress | Hop::GatewaySilent, _) => false,
            (Hop::MarkUnknown | Hop::Transparent, _) => false,
        }
    }
}
