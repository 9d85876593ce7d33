//! Who was asked how often, and answered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use deadpeer::host::Connection;
use deadpeer::{Answer, AnswerTime, Known, Why};

/// What came of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was asked.
    Answer(Answer),
    /// It was not.
    NotAsked(Why),
}

/// One connection's figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) cookie: u64,
    pub(super) questions: u64,
    pub(super) answers: u64,
    /// Answers whose time is known.
    timed: u32,
    refused: Option<Why>,
    least: Duration,
    most: Duration,
    sum: Duration,
}

impl Line {
    /// Shortest, mean and longest, if there was any answer.
    pub(super) fn times(&self) -> Option<(Duration, Duration, Duration)> {
        (self.timed > 0).then(|| (self.least, self.sum / self.timed, self.most))
    }
}

/// The figures of all.
#[derive(Debug)]
pub(super) struct Tally {
    lines: Vec<Line>,
    by_cookie: HashMap<u64, usize>,
}

impl Tally {
    pub(super) fn new(connections: &[Connection]) -> Self {
        let line = |connection: &Connection| Line {
            local: connection.row.local,
            peer: connection.row.peer,
            cookie: connection.row.cookie.0,
            questions: 0,
            answers: 0,
            timed: 0,
            refused: None,
            least: Duration::MAX,
            most: Duration::ZERO,
            sum: Duration::ZERO,
        };
        let lines: Vec<_> = connections.iter().map(line).collect();
        let by_cookie = lines.iter().enumerate().map(|(n, line)| (line.cookie, n)).collect();
        Self { lines, by_cookie }
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub(super) fn answers(&self) -> u64 {
        self.lines.iter().map(|line| line.answers).sum()
    }

    /// Counts what came of a question; `None` where there is nothing new to say.
    pub(super) fn add(&mut self, connection: &Connection) -> Option<Outcome> {
        let line = self.lines.get_mut(*self.by_cookie.get(&connection.row.cookie.0)?)?;
        match connection.facts().asked? {
            Known::Not(Why::Interrupted) => None,
            // It was there: its owner has closed it since.
            Known::Not(Why::SocketGone | Why::DescriptorReused | Why::NotEstablished)
                if line.questions > 0 =>
            {
                let told = line.refused.replace(Why::NotEstablished).is_some();
                (!told).then_some(Outcome::Answer(Answer::Gone))
            }
            // Once, not in each round.
            Known::Not(why) => (line.refused.replace(why) != Some(why)).then_some(Outcome::NotAsked(why)),
            Known::Is(asked) => {
                line.questions += 1;
                match asked.answer {
                    Answer::Answered(AnswerTime { most: after, .. }) | Answer::Reset(after) => {
                        line.answers += 1;
                        line.timed += 1;
                        line.least = line.least.min(after);
                        line.most = line.most.max(after);
                        line.sum += after;
                    }
                    // What the peer sent by itself answers the question whether it lives, in no time of its own.
                    Answer::Heard => line.answers += 1,
                    Answer::None | Answer::Gone | Answer::Ended => {}
                }
                // A line in each round would only repeat it.
                if matches!(asked.answer, Answer::Gone | Answer::Ended | Answer::Reset(_)) {
                    line.refused = Some(Why::NotEstablished);
                }
                Some(Outcome::Answer(asked.answer))
            }
        }
    }
}
