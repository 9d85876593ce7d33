//! From facts to a verdict: the rules.

use core::time::Duration;

use crate::evidence::Evidence;
use crate::facts::{Answer, Asked, Facts, Hop, Others, Path, TcpState};
use crate::known::Known;
use crate::silence::{Silence, Tries};
use crate::verdict::{Cause, Judgement, Verdict};

/// The thresholds of the rules, so that no number hides in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A peer heard from within this time is alive.
    pub fresh: Duration,
    /// A dead peer has left at least so many tries unanswered …
    pub tries: u8,
    /// … over at least this time.
    pub over: Duration,
    /// A shut window, an unread queue, a full accept queue must stay so for this long.
    pub stalled_after: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(10),
            tries: 3,
            over: Duration::from_secs(3),
            stalled_after: Duration::from_secs(5),
        }
    }
}

/// Judges a connection.
///
/// In this order: what its state says alone; a reset in answer to us; silence; a stall; a sign of life;
/// nothing. Silence goes before a fresh sign of life, because tries that go unanswered are the younger fact.
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
        .or_else(|| by_reset(facts))
        .or_else(|| by_silence(facts, rules))
        .or_else(|| by_stall(facts, rules))
        .unwrap_or_else(|| by_life(facts, rules))
}

fn by_state(facts: &Facts, rules: &Rules) -> Option<Judgement> {
    let state = Evidence::State(facts.state);
    let judgement = match facts.state {
        TcpState::Established => return None,
        TcpState::Listen => listener(facts, rules),
        TcpState::SynSent | TcpState::SynReceived => {
            Judgement::new(Verdict::Opening, Cause::Connecting, state).and(silent(facts))
        }
        TcpState::CloseWait => {
            let ago = facts.last_heard.value().unwrap_or_default();
            Judgement::new(Verdict::Leaked, Cause::PeerClosed, Evidence::PeerClosed { ago })
                .and(silent(facts))
        }
        TcpState::Close if matches!(facts.asked, Some(Known::Is(Asked { answer: Answer::Reset(_), .. }))) => {
            return None;
        }
        TcpState::FinWait1
        | TcpState::FinWait2
        | TcpState::TimeWait
        | TcpState::Close
        | TcpState::LastAck
        | TcpState::Closing => {
            let gone = matches!(facts.asked, Some(Known::Is(Asked { answer: Answer::Gone, .. })));
            let first = if gone { Evidence::Gone } else { state };
            Judgement::new(Verdict::Closing, Cause::ClosedHere, first)
                .and(silent(facts))
                .and(last_heard(facts))
        }
    };
    Some(judgement)
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

fn by_reset(facts: &Facts) -> Option<Judgement> {
    match facts.asked {
        Some(Known::Is(Asked { answer: Answer::Reset(after), .. })) => Some(
            Judgement::new(Verdict::Dead, Cause::Reset, Evidence::Reset { after }).and(last_heard(facts)),
        ),
        _ => None,
    }
}

/// Silence is death when there were enough tries over enough time and our own way is up.
fn by_silence(facts: &Facts, rules: &Rules) -> Option<Judgement> {
    if let Some(Known::Is(Asked { answer: Answer::Heard(_), .. })) = facts.asked {
        return None;
    }
    let silence = facts.silence()?;
    let heard_before = facts.last_heard.value().is_none_or(|ago| ago >= silence.over);
    let enough = silence.count >= rules.tries && silence.over >= rules.over && heard_before;
    let (verdict, cause) = match facts.path {
        Known::Is(path) if !path.is_up() => (Verdict::Suspect, Cause::LocalPath),
        // A way that nobody could look at is not known to be up.
        Known::Not(_) if enough => (Verdict::Suspect, Cause::LocalPath),
        _ if enough => (Verdict::Dead, unanswered(silence)),
        _ => (Verdict::Suspect, unanswered(silence)),
    };
    let first = Evidence::Unanswered {
        tries: silence.tries,
        count: silence.count,
        over: silence.over,
        bytes: facts.in_flight,
    };
    Some(Judgement::new(verdict, cause, first).and(last_heard(facts)).and(path(facts)))
}

const fn unanswered(silence: Silence) -> Cause {
    match silence.tries {
        Tries::Questions => Cause::QuestionsUnanswered,
        Tries::Retransmissions => Cause::RetransmissionsUnanswered,
        Tries::KeepaliveProbes => Cause::KeepaliveUnanswered,
        Tries::WindowProbes => Cause::WindowProbesUnanswered,
    }
}

fn by_stall(facts: &Facts, rules: &Rules) -> Option<Judgement> {
    let long = |over: &Duration| *over >= rules.stalled_after;
    if let Some(over) = facts.window_shut_for().filter(long) {
        let evidence = Evidence::WindowShut { over, bytes: facts.unsent };
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

fn by_life(facts: &Facts, rules: &Rules) -> Judgement {
    if let Some(answer) = answered(facts) {
        return Judgement::new(Verdict::Alive, Cause::Answered, answer);
    }
    let not_asked = match facts.asked {
        Some(Known::Not(why)) => Some(Evidence::NotAsked(why)),
        _ => None,
    };
    match facts.last_heard {
        Known::Is(ago) if ago <= rules.fresh => {
            Judgement::new(Verdict::Alive, Cause::Heard, Evidence::LastHeard(ago))
        }
        Known::Is(ago) => {
            Judgement::new(Verdict::Unverified, Cause::NothingProven, Evidence::LastHeard(ago)).and(not_asked)
        }
        Known::Not(_) => {
            Judgement::new(Verdict::Unverified, Cause::NothingProven, Evidence::State(facts.state))
                .and(not_asked)
        }
    }
}

fn answered(facts: &Facts) -> Option<Evidence> {
    match facts.asked {
        Some(Known::Is(Asked { answer: Answer::Heard(after), .. })) => Some(Evidence::Answered { after }),
        _ => None,
    }
}

fn last_heard(facts: &Facts) -> Option<Evidence> {
    facts.last_heard.value().map(Evidence::LastHeard)
}

fn silent(facts: &Facts) -> Option<Evidence> {
    let Silence { tries, count, over } = facts.silence()?;
    Some(Evidence::Unanswered { tries, count, over, bytes: facts.in_flight })
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
