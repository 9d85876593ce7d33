//! The rules, one by one.

use core::time::Duration;

use crate::{
    AcceptQueue, Answer, AnswerTime, Asked, Evidence, Facts, Hop, Known, Loss, Others, Path, Proof, Rules,
    TcpState, Timer, Tries, judge,
};

const UP: Known<Path> = Known::Is(Path { hop: Hop::Up, others: Others::None });

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn heard(ago: u64) -> Facts {
    Facts { last_heard: Known::Is(secs(ago)), path: UP, ..Facts::new(TcpState::Established) }
}

/// Asked on a path of which nothing is known but what is assumed.
fn asked(tries: u16, over: u64, answer: Answer) -> Option<Known<Asked>> {
    let proof = Proof::across(Loss::ASSUMED);
    let (over, proof_takes) = (secs(over), proof.takes(secs(1), secs(1)));
    Some(Known::Is(Asked { tries, over, answer, answers: 0, stuck: 0, proof, proof_takes }))
}

fn answered(ms: u64) -> Answer {
    let time = Duration::from_millis(ms);
    Answer::Answered(AnswerTime { least: time, most: time })
}

/// "verdict cause", the way the command prints them.
fn verdict(facts: &Facts) -> std::string::String {
    let judgement = judge(facts, &Rules::default());
    assert!(judgement.evidence().next().is_some());
    std::format!("{} {}", judgement.verdict(), judgement.cause())
}

/// What is said for the verdict.
fn evidence(facts: &Facts) -> std::vec::Vec<std::string::String> {
    judge(facts, &Rules::default()).evidence().map(std::string::ToString::to_string).collect()
}

#[test]
fn life_and_its_age() {
    assert_eq!(verdict(&heard(10)), "alive heard");
    assert_eq!(verdict(&heard(11)), "unverified nothing-proven");
    let answer = Facts { asked: asked(1, 0, answered(3)), ..heard(0) };
    assert_eq!(verdict(&answer), "alive answered");
    let data = Facts { asked: asked(1, 0, Answer::Heard), ..heard(0) };
    assert_eq!(verdict(&data), "alive heard");
}

#[test]
fn an_end_has_a_cause_or_says_that_it_has_none() {
    let ended = |answer| Facts { asked: asked(1, 0, answer), state: TcpState::Close, ..heard(90) };
    assert_eq!(verdict(&ended(Answer::Reset(secs(0)))), "dead reset");
    assert_eq!(verdict(&ended(Answer::Ended)), "ended unknown");
    assert_eq!(verdict(&ended(Answer::Gone)), "closing closed-here");
    assert_eq!(verdict(&Facts { asked: None, ..ended(Answer::None) }), "ended unknown");
}

#[test]
fn death_needs_its_proof_on_a_path_that_is_up() {
    let silent = |tries, over, path| Facts { asked: asked(tries, over, Answer::None), path, ..heard(60) };
    assert_eq!(verdict(&silent(9, 10, UP)), "dead questions-unanswered");
    assert_eq!(verdict(&silent(8, 10, UP)), "suspect questions-unanswered");
    assert_eq!(verdict(&silent(9, 9, UP)), "suspect questions-unanswered");
    let words = |facts| evidence(&facts).join("; ");
    assert_eq!(
        words(silent(9, 10, UP)),
        "9 questions unanswered for 10 s; a living peer stays silent that long once in 3,000,000 times, with 10 % \
         independent loss each way; last heard 60 s ago; our own way is up"
    );
    assert!(words(silent(3, 3, UP)).contains("proof takes 9 unanswered tries over 10 s"));
    let paths = [
        (Hop::Loopback, Others::None, true),
        (Hop::Up, Others::Heard(1), true),
        (Hop::Up, Others::Silent(1), false),
        (Hop::LinkDown, Others::None, false),
        (Hop::NoRoute, Others::None, false),
        (Hop::GatewaySilent, Others::Heard(1), false),
        (Hop::NoAddress, Others::Heard(1), false),
        (Hop::MarkUnknown, Others::Heard(1), false),
        (Hop::Transparent, Others::Heard(1), false),
        (Hop::Unasked, Others::None, false),
        (Hop::Unasked, Others::Silent(1), false),
        (Hop::Unasked, Others::Heard(1), true),
        (Hop::PeerUnresolved, Others::None, false),
        (Hop::PeerUnresolved, Others::Heard(1), true),
    ];
    for (hop, others, up) in paths {
        let expected = if up { "dead questions-unanswered" } else { "suspect local-path" };
        assert_eq!(verdict(&silent(9, 10, Known::Is(Path { hop, others }))), expected, "{hop:?} {others:?}");
    }
    // Nobody looked at the path.
    assert_eq!(verdict(&silent(9, 10, Known::Not(crate::Why::Failed))), "suspect local-path");
}

/// Retransmissions after 200 ms, doubled each time, the next in `due` milliseconds.
fn retransmitted(count: u8, due: u64) -> Facts {
    Facts {
        rto: Duration::from_millis(200) * 2u32.pow(u32::from(count)),
        backoff: count,
        retransmits: count,
        in_flight: 500,
        segments_in_flight: 1,
        timer: Timer::Retransmit(Duration::from_millis(due)),
        ..heard(1000)
    }
}

#[test]
fn retransmissions_are_timed_by_their_pauses() {
    // 0.2 + 0.4 + 0.8 + 1.6 = 3.0 s after four of them.
    let silence = retransmitted(4, 3200).silence().unwrap();
    assert_eq!((silence.tries, silence.count, silence.over), (Tries::Retransmissions, 4, secs(3)));
    let here = |count, due| Facts {
        path: Known::Is(Path { hop: Hop::Loopback, others: Others::None }),
        ..retransmitted(count, due)
    };
    assert_eq!(here(3, 1600).silence().unwrap().over, Duration::from_millis(1400));
    assert_eq!(here(3, 0).silence().unwrap().over, secs(3)); // 1.4 s + 1.6 s that have run
    assert_eq!(verdict(&here(4, 3200)), "suspect retransmissions-unanswered");
    // Thin streams do not double: three pauses of an RTO, and the one that runs.
    let thin = Facts { rto: secs(1), backoff: 0, ..here(3, 1000) };
    assert_eq!(thin.silence().unwrap().over, secs(3));
}

#[test]
fn retransmissions_prove_no_death_and_questions_do_beside_them() {
    let long = retransmitted(12, 0);
    assert_eq!(verdict(&long), "suspect retransmissions-unanswered");
    let told = judge(&long, &Rules::default());
    assert!(told.evidence().any(|evidence| *evidence == Evidence::OnlyQuestionsProve));
    // Asked, too: the questions are the proof, though the retransmissions are more and took longer.
    let asked = Facts { asked: asked(9, 10, Answer::None), ..long };
    assert_eq!(verdict(&asked), "dead questions-unanswered");
    let early = Facts { asked: self::asked(3, 3, Answer::None), ..long };
    assert_eq!(verdict(&early), "suspect retransmissions-unanswered");
}

#[test]
fn an_outage_of_seconds_or_a_round_trip_that_rises_is_no_death() {
    // To another host: four retransmissions over 3 s, seven over 25 s, nine over 102 s.
    assert_eq!(verdict(&retransmitted(4, 3200)), "suspect retransmissions-unanswered");
    assert_eq!(verdict(&retransmitted(7, 0)), "suspect retransmissions-unanswered");
    assert_eq!(verdict(&retransmitted(9, 0)), "suspect retransmissions-unanswered");
}

#[test]
fn a_path_that_loses_much_needs_more_tries() {
    let lossy = Facts { retransmitted: 309, data_segments_out: Known::Is(1_010), ..retransmitted(9, 0) };
    assert_eq!(verdict(&lossy), "suspect retransmissions-unanswered");
    assert!(evidence(&lossy)[1].starts_with("proof takes 23 "), "{:?}", evidence(&lossy));
    // The retransmissions that go unanswered now are no measure of the path.
    let silent = Facts { retransmitted: 10, data_segments_out: Known::Is(40), ..retransmitted(9, 0) };
    assert_eq!(silent.proof(), Proof::across(Loss::ASSUMED));
}

#[test]
fn an_answer_does_not_outweigh_stuck_data() {
    let stuck = |retransmits, answers, since, size| {
        let Some(Known::Is(asked)) = asked(5, 6, answered(1)) else { unreachable!() };
        Facts {
            asked: Some(Known::Is(Asked { answers, stuck: since, ..asked })),
            in_flight: size,
            ..retransmitted(retransmits, 900)
        }
    };
    assert_eq!(verdict(&stuck(5, 3, 1, 1448)), "stalled mtu-black-hole");
    let words = evidence(&stuck(5, 3, 1, 1448));
    let expected = "the peer answers, and 5 retransmissions of segments of 1448 bytes were not acknowledged";
    assert_eq!(words[0], expected);
    // Fewer answers, no retransmission since the first, segments that fit everywhere: something else.
    assert_eq!(verdict(&stuck(5, 2, 1, 1448)), "suspect retransmissions-unanswered");
    assert_eq!(verdict(&stuck(5, 3, 0, 1448)), "suspect retransmissions-unanswered");
    assert_eq!(verdict(&stuck(5, 3, 1, 536)), "suspect retransmissions-unanswered");
    // Ordinary loss.
    assert_eq!(verdict(&stuck(3, 3, 1, 1448)), "alive answered");
    // Within one host no link is too narrow.
    let mut here = stuck(5, 3, 1, 1448);
    if let Some(Known::Is(asked)) = &mut here.asked {
        asked.proof = Proof::ON_THIS_HOST;
    }
    assert_eq!(verdict(&here), "suspect retransmissions-unanswered");
}

#[test]
fn an_open_window_that_nothing_leaves_through_is_our_own_trouble() {
    let waiting = |window| Facts {
        timer: Timer::WindowProbe(Duration::from_millis(100)),
        peer_window: Known::Is(window),
        rto: Duration::from_millis(200),
        backoff: 5,
        probes_out: 5,
        unsent: 4096,
        last_sent: Known::Is(secs(60)),
        ..heard(60)
    };
    assert_eq!(verdict(&waiting(65_535)), "suspect local-path");
    assert_eq!(verdict(&waiting(0)), "suspect window-probes-unanswered");
}

#[test]
fn a_probe_whose_answer_may_still_come_is_no_silence() {
    let probing = |probes, due_ms, interval| Facts {
        probes_out: probes,
        rto: Duration::from_millis(200),
        timer: Timer::Keepalive(Duration::from_millis(due_ms)),
        keepalive_interval: interval,
        path: Known::Is(Path { hop: Hop::Loopback, others: Others::None }),
        ..heard(60)
    };
    assert_eq!(verdict(&probing(1, 990, Some(secs(1)))), "unverified nothing-proven");
    assert_eq!(verdict(&probing(1, 500, Some(secs(1)))), "suspect keepalive-unanswered");
    assert_eq!(verdict(&probing(4, 0, Some(secs(1)))), "dead keepalive-unanswered");
    // Where the interval is unknown, a second between probes is the least that the kernel takes.
    assert_eq!(verdict(&probing(3, 500, None)), "suspect keepalive-unanswered");
    assert_eq!(verdict(&probing(4, 500, None)), "dead keepalive-unanswered");
}

#[test]
fn a_shut_window_stalls_while_it_is_answered() {
    let shut = |over, probes_out| Facts {
        timer: Timer::WindowProbe(Duration::from_millis(100)),
        rto: Duration::from_millis(200),
        backoff: 5,
        probes_out,
        unsent: 4096,
        last_sent: Known::Is(secs(over)),
        ..heard(2)
    };
    assert_eq!(verdict(&shut(6, 0)), "stalled shut-window");
    assert_eq!(verdict(&shut(4, 0)), "alive heard");
    let here = Known::Is(Path { hop: Hop::Loopback, others: Others::None });
    let silent = Facts { last_heard: Known::Is(secs(60)), path: here, ..shut(60, 5) };
    assert_eq!(verdict(&silent), "dead window-probes-unanswered");
    let unread =
        Facts { own_window: Known::Is(0), unread: 65_536, last_received: Known::Is(secs(6)), ..heard(1) };
    assert_eq!(verdict(&unread), "stalled unread-queue");
}

/// Captured on Linux 6.17, whose receiver refused what its last window had allowed.
#[test]
fn a_window_that_was_withdrawn_stalls_while_retransmissions_are_answered() {
    let withdrawn = |heard_ms, retransmits, window| Facts {
        timer: Timer::Retransmit(Duration::from_millis(2800)),
        peer_window: Known::Is(window),
        rto: Duration::from_millis(3328),
        backoff: 4,
        retransmits,
        in_flight: 14_848,
        unsent: 2_585_600,
        last_sent: Known::Is(Duration::from_millis(2472)),
        last_heard: Known::Is(Duration::from_millis(heard_ms)),
        ..heard(2)
    };
    assert_eq!(verdict(&withdrawn(2472, 0, 0)), "stalled shut-window");
    let over = withdrawn(2472, 0, 0).window_shut_for().unwrap();
    // It had been shut for 5.7 s.
    assert_eq!(over, Duration::from_millis(3328 - 208 + 2472));
    // The latest retransmission has no answer yet, data was lost before, or the window is open.
    for other in [withdrawn(5000, 0, 0), withdrawn(2472, 1, 0), withdrawn(2472, 0, 65_535)] {
        assert_eq!(other.window_shut_for(), None);
    }
}

#[test]
fn states_speak_for_themselves() {
    let state = |state| Facts { state, ..heard(60) };
    assert_eq!(verdict(&state(TcpState::SynSent)), "opening connecting");
    let orphan = Facts { has_descriptor: false, ..state(TcpState::FinWait2) };
    assert_eq!(verdict(&orphan), "closing closed-here");
    let queue = |oldest| Facts {
        accept_queue: Some(AcceptQueue { waiting: 3, limit: 128, oldest: Some(secs(oldest)) }),
        ..Facts::new(TcpState::Listen)
    };
    assert_eq!(verdict(&queue(6)), "stalled accept-queue");
    assert_eq!(verdict(&queue(1)), "unverified listening");
}

#[test]
fn half_closed_by_the_peer_it_is_leaked_only_when_nothing_moves() {
    let closed = |heard, sent| Facts {
        last_heard: Known::Is(secs(heard)),
        last_received: Known::Is(secs(100)),
        last_sent: Known::Is(secs(sent)),
        ..Facts::new(TcpState::CloseWait)
    };
    assert_eq!(verdict(&closed(60, 60)), "leaked peer-closed");
    assert_eq!(verdict(&closed(2, 60)), "alive heard", "just closed, or acknowledging");
    assert_eq!(verdict(&closed(2, 2)), "alive heard", "it still streams");
    let unacknowledged = Facts { in_flight: 5_000, ..closed(60, 60) };
    assert_eq!(verdict(&unacknowledged), "unverified nothing-proven");
    let dying = Facts { state: TcpState::CloseWait, ..retransmitted(9, 0) };
    assert_eq!(verdict(&dying), "suspect retransmissions-unanswered");
}

#[test]
fn half_closed_here_it_is_judged_as_an_open_one() {
    let waiting = |answer| Facts { state: TcpState::FinWait2, asked: asked(1, 10, answer), ..heard(60) };
    assert_eq!(verdict(&waiting(answered(1))), "alive answered");
    assert_eq!(verdict(&waiting(Answer::None)), "suspect questions-unanswered");
    assert_eq!(verdict(&Facts { asked: None, ..waiting(Answer::None) }), "unverified nothing-proven");
}
