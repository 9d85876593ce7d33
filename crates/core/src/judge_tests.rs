//! The rules, one by one.

use core::time::Duration;

use crate::{
    AcceptQueue, Answer, Asked, Facts, Hop, Known, Others, Path, Rules, TcpState, Timer, Tries, judge,
};

const UP: Known<Path> = Known::Is(Path { hop: Hop::Up, others: Others::None });

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn heard(ago: u64) -> Facts {
    Facts { last_heard: Known::Is(secs(ago)), path: UP, ..Facts::new(TcpState::Established) }
}

fn asked(tries: u8, over: u64, answer: Answer) -> Option<Known<Asked>> {
    Some(Known::Is(Asked { tries, over: secs(over), answer }))
}

/// "verdict cause", the way the command prints them.
fn verdict(facts: &Facts) -> std::string::String {
    let judgement = judge(facts, &Rules::default());
    assert!(judgement.evidence().next().is_some());
    std::format!("{} {}", judgement.verdict(), judgement.cause())
}

#[test]
fn life_and_its_age() {
    assert_eq!(verdict(&heard(10)), "alive heard");
    assert_eq!(verdict(&heard(11)), "unverified nothing-proven");
    let answered = Facts { asked: asked(1, 0, Answer::Heard(secs(0))), ..heard(0) };
    assert_eq!(verdict(&answered), "alive answered");
    let reset = Facts { asked: asked(1, 0, Answer::Reset(secs(0))), state: TcpState::Close, ..heard(90) };
    assert_eq!(verdict(&reset), "dead reset");
    let gone = Facts { asked: asked(1, 0, Answer::Gone), state: TcpState::Close, ..heard(90) };
    assert_eq!(verdict(&gone), "closing closed-here");
}

#[test]
fn death_needs_enough_tries_over_enough_time_on_a_path_that_is_up() {
    let silent = |tries, over, path| Facts { asked: asked(tries, over, Answer::None), path, ..heard(60) };
    assert_eq!(verdict(&silent(3, 3, UP)), "dead questions-unanswered");
    assert_eq!(verdict(&silent(2, 3, UP)), "suspect questions-unanswered");
    assert_eq!(verdict(&silent(3, 2, UP)), "suspect questions-unanswered");
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
        assert_eq!(verdict(&silent(3, 3, Known::Is(Path { hop, others }))), expected, "{hop:?} {others:?}");
    }
    // Nobody looked at the path.
    assert_eq!(verdict(&silent(3, 3, Known::Not(crate::Why::Failed))), "suspect local-path");
}

#[test]
fn retransmissions_are_timed_by_their_pauses() {
    // RTO 200 ms, doubled each time: 0.2 + 0.4 + 0.8 + 1.6 = 3.0 s after four of them.
    let after = |count: u8, due: u64| Facts {
        rto: Duration::from_millis(200) * 2u32.pow(u32::from(count)),
        backoff: count,
        retransmits: count,
        in_flight: 1448,
        timer: Timer::Retransmit(Duration::from_millis(due)),
        ..heard(60)
    };
    let silence = after(4, 3200).silence().unwrap();
    assert_eq!((silence.tries, silence.count, silence.over), (Tries::Retransmissions, 4, secs(3)));
    assert_eq!(verdict(&after(4, 3200)), "dead retransmissions-unanswered");
    assert_eq!(verdict(&after(3, 1600)), "suspect retransmissions-unanswered"); // 1.4 s
    assert_eq!(verdict(&after(3, 0)), "dead retransmissions-unanswered"); // 1.4 s + 1.6 s that have run
    // Thin streams do not double: three pauses of an RTO, and the one that runs.
    let thin = Facts { rto: secs(1), backoff: 0, ..after(3, 1000) };
    assert_eq!(thin.silence().unwrap().over, secs(3));
}

#[test]
fn a_probe_whose_answer_may_still_come_is_no_silence() {
    let probing = |probes, due_ms, interval| Facts {
        probes_out: probes,
        rto: Duration::from_millis(200),
        timer: Timer::Keepalive(Duration::from_millis(due_ms)),
        keepalive_interval: interval,
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
    let silent = Facts { last_heard: Known::Is(secs(60)), ..shut(60, 5) };
    assert_eq!(verdict(&silent), "dead window-probes-unanswered");
    let unread =
        Facts { own_window: Known::Is(0), unread: 65_536, last_received: Known::Is(secs(6)), ..heard(1) };
    assert_eq!(verdict(&unread), "stalled unread-queue");
}

#[test]
fn states_speak_for_themselves() {
    let state = |state| Facts { state, ..heard(60) };
    assert_eq!(verdict(&state(TcpState::CloseWait)), "leaked peer-closed");
    assert_eq!(verdict(&state(TcpState::SynSent)), "opening connecting");
    assert_eq!(verdict(&state(TcpState::FinWait2)), "closing closed-here");
    let queue = |oldest| Facts {
        accept_queue: Some(AcceptQueue { waiting: 3, limit: 128, oldest: Some(secs(oldest)) }),
        ..Facts::new(TcpState::Listen)
    };
    assert_eq!(verdict(&queue(6)), "stalled accept-queue");
    assert_eq!(verdict(&queue(1)), "unverified listening");
}
