//! Which question an answer belongs to, and how long it took.

use std::time::{Duration, Instant};

use deadpeer_core::{AnswerTime, Facts};

/// The kernel tells ages in ticks; the slowest usual HZ has 100 a second.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// What an answer is credited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credit {
    /// The last question that it can belong to, by number.
    pub(super) question: usize,
    pub(super) time: AnswerTime,
    /// The first question that another answer may still come to.
    pub(super) open: usize,
}

/// Credits an answer that came `age` ago, seen at `at`, to one of the questions `sent`.
///
/// It can belong to any question that left at least the shortest round trip earlier: the first may have been answered
/// late, over a round trip that rose, or the last early, after others were lost. Where the last one left about a usual
/// round trip earlier, the others are taken to be lost, and no answer to them is waited for.
pub(super) fn credit(at: Instant, age: Duration, sent: &[Instant], facts: &Facts) -> Credit {
    let took = |question: usize| sent.get(question).map_or(Duration::ZERO, |&sent| took(at, age, sent));
    let least = facts.least_rtt.unwrap_or_default();
    let heard_at = at.checked_sub(age).unwrap_or(at);
    let question = sent.iter().rposition(|&sent| heard_at + TICK >= sent + least).unwrap_or(0);
    let time = AnswerTime { least: took(question), most: took(0) };
    let usual = facts.rtt.map(|rtt| rtt + facts.rtt_variance.unwrap_or_default() * 4 + TICK);
    let others_are_lost = usual.is_some_and(|usual| time.least <= usual);
    let open = if others_are_lost { question + 1 } else { 1 };
    Credit { question, time, open: open.min(sent.len()) }
}

/// How long an answer to a question took. The kernel tells its age in ticks; the moment we looked bounds it.
fn took(at: Instant, age: Duration, question: Instant) -> Duration {
    let heard_at = at.checked_sub(age).unwrap_or(question);
    let bound = at.saturating_duration_since(question);
    match heard_at.saturating_duration_since(question) {
        // Within the tick of the question itself: what we know is that it was there when we looked.
        Duration::ZERO => bound,
        took => took.min(bound),
    }
}

#[cfg(test)]
mod tests {
    use deadpeer_core::TcpState;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Questions a second apart, the answer `at` milliseconds after the first, on a path with this round trip.
    fn credited(questions: usize, at: u64, rtt: u64) -> Credit {
        let start = Instant::now();
        let sent: Vec<_> = (0..questions).map(|n| start + ms(1_000 * n as u64)).collect();
        let rtt = Some(ms(rtt));
        let facts = Facts { rtt, least_rtt: rtt, ..Facts::new(TcpState::Established) };
        credit(start + ms(at + 200), ms(200), &sent, &facts)
    }

    #[test]
    fn an_answer_belongs_to_the_question_that_left_a_round_trip_earlier() {
        let exact =
            |took| Credit { question: 0, time: AnswerTime { least: ms(took), most: ms(took) }, open: 1 };
        assert_eq!(credited(1, 40, 40), exact(40));
        // A round trip of 2.5 s: the answer to the first comes after the third has left.
        assert_eq!(credited(3, 2_500, 2_500), exact(2_500));
        // Late, and only one question to be late for.
        assert_eq!(credited(1, 900, 40), exact(900));
    }

    #[test]
    fn after_losses_the_time_is_a_range_and_the_lost_are_forgotten() {
        let credit = credited(4, 3_040, 40);
        assert_eq!(credit.time, AnswerTime { least: ms(40), most: ms(3_040) });
        assert_eq!((credit.question, credit.open), (3, 4));
    }

    #[test]
    fn a_round_trip_that_rose_unnoticed_leaves_a_range() {
        let credit = credited(3, 2_500, 1);
        assert_eq!(credit.time, AnswerTime { least: ms(500), most: ms(2_500) });
        assert_eq!((credit.question, credit.open), (2, 1));
    }
}
