//! A running program of the pair, and the events that it tells.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_lab::Program;
use serde_json::Value;

/// Patience for what must come; tests that pass don't wait for it.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A program that prints one JSON object a line.
pub(crate) struct Told {
    pub program: Program,
    lines: Receiver<Value>,
    held: VecDeque<Value>,
}

impl Told {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deadpeer"));
        Self::from(Program::from(command.args(args).stdout(Stdio::piped()).spawn().unwrap()))
    }

    /// The next event of this kind; others are kept for later.
    pub(crate) fn next(&mut self, kind: &str) -> Value {
        if let Some(at) = self.held.iter().position(|event| event["event"] == kind) {
            return self.held.remove(at).unwrap();
        }
        let until = Instant::now() + SOON;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) if event["event"] == kind => return event,
                Ok(event) => self.held.push_back(event),
                Err(error) => panic!("no {kind}: {error}; there are {:?}", self.sample()),
            }
        }
    }

    /// So many events of this kind.
    pub(crate) fn all(&mut self, kind: &str, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.next(kind)).collect()
    }

    /// All events that come within this time, and those that were kept.
    pub(crate) fn during(&mut self, time: Duration) -> &VecDeque<Value> {
        let until = Instant::now() + time;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => self.held.push_back(event),
                Err(RecvTimeoutError::Timeout) => return &self.held,
                Err(error) => panic!("{error}; there were {:?}", self.sample()),
            }
        }
    }

    fn sample(&self) -> Vec<&Value> {
        self.held.iter().rev().take(20).collect()
    }
}

impl From<Program> for Told {
    fn from(mut program: Program) -> Self {
        let lines = read(program.stdout.take().unwrap());
        Self { program, lines, held: VecDeque::new() }
    }
}

fn read(stdout: ChildStdout) -> Receiver<Value> {
    let (told, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let event = serde_json::from_str(&line.unwrap()).unwrap();
            if told.send(event).is_err() {
                break;
            }
        }
    });
    lines
}
