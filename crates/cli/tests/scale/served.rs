//! A running `deadpeer serve`.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_lab::Program;
use serde_json::Value;

/// Patience for what must come; tests that pass don't wait for it.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Served {
    pub program: Program,
    pub address: SocketAddr,
    status: SocketAddr,
    lines: Receiver<Value>,
    held: VecDeque<Value>,
}

impl Served {
    pub(crate) fn start(listen: &str, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deadpeer"));
        command.args(["serve", "--json", "--status", "0", "--listen", listen]).args(args);
        let mut program = Program::from(command.stdout(Stdio::piped()).spawn().unwrap());
        let lines = read(program.stdout.take().unwrap());
        let first: Value = lines.recv_timeout(SOON).unwrap();
        assert_eq!(first["event"], "listening");
        let address = first["address"].as_str().unwrap().parse().unwrap();
        let (_, status) = first["text"].as_str().unwrap().rsplit_once("http://").unwrap();
        Self { program, address, status: status.parse().unwrap(), lines, held: VecDeque::new() }
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
                Err(error) => panic!("no {kind}: {error}; there are {} other events", self.held.len()),
            }
        }
    }

    /// So many events of this kind.
    pub(crate) fn all(&mut self, kind: &str, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.next(kind)).collect()
    }

    /// No healthy client is said to be dead, for so long.
    pub(crate) fn nobody_dies(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => self.held.push_back(event),
                Err(RecvTimeoutError::Timeout) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let healthy = |event: &&Value| event["id"].as_str().is_some_and(|id| id.starts_with("client"));
        let told = self.held.iter().filter(healthy).find(|event| event["event"] == "died");
        assert!(told.is_none(), "{told:?}");
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.status).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: status\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub(crate) fn sessions(&self, query: &str) -> Value {
        serde_json::from_str(&self.get(&format!("/sessions{query}"))).unwrap()
    }

    /// A metric's value.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        assert!(text.ends_with("# EOF\n"), "{text}");
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    pub(crate) fn until_metric_is(&self, name: &str, value: f64) {
        let until = Instant::now() + SOON;
        while self.metric(name) != value {
            assert!(Instant::now() < until, "{name} is {}, not {value}", self.metric(name));
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// So many descriptors it has, and so many threads; without those that answer for the status as they are needed.
    pub(crate) fn held(&self) -> (usize, usize) {
        let entries =
            |what| std::fs::read_dir(format!("/proc/{}/{what}", self.program.id())).unwrap().flatten();
        let name =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        (entries("fd").count(), entries("task").map(name).filter(|name| !name.starts_with("tokio")).count())
    }

    /// Kilobytes of memory that it has had at most.
    pub(crate) fn peak(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
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
