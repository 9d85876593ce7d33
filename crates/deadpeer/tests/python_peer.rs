//! The library against a peer that was written from docs/protocol.md alone, in another language.
#![cfg(target_os = "linux")] // where the tests' Python is
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use deadpeer::Policy;
use deadpeer::session::{Bye, Config, Reason, Session};

struct Python {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Python {
    fn start(role: &str, port: u16, actions: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python_peer.py");
        let mut process = Command::new("python3")
            .args([script, role, &port.to_string()])
            .args(actions)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// What it still prints, and that it ends well.
    fn rest(mut self) -> Vec<String> {
        let rest = (&mut self.lines).lines().map(Result::unwrap).collect();
        assert!(self.process.wait().unwrap().success());
        rest
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config() -> Config {
    let policy = Policy::detect(Duration::from_secs(3)).survive(Duration::from_millis(500)).build().unwrap();
    Config::keeping(&policy).unwrap().id("rust")
}

/// A session with the Python peer in either role.
fn session(python_connects: bool, actions: &[&str]) -> (Session, Python) {
    if python_connects {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let python = Python::start("connect", listener.local_addr().unwrap().port(), actions);
        let session = Session::accept(listener.accept().unwrap().0, &config()).unwrap();
        return (session, python);
    }
    let mut python = Python::start("accept", 0, actions);
    let line = python.line();
    let port: u16 = line.strip_prefix("listening ").unwrap().parse().unwrap();
    (Session::connect(TcpStream::connect(("127.0.0.1", port)).unwrap(), &config()).unwrap(), python)
}

#[test]
fn messages_credit_and_goodbyes_in_both_roles() {
    for python_connects in [true, false] {
        let (session, mut python) = session(python_connects, &["unknown", "send:hello", "echo"]);
        assert_eq!((session.peer_id(), python.line().as_str()), ("python", "up rust"));
        assert_eq!(session.recv().unwrap().as_deref(), Some(&b"hello"[..]));
        // More than the credit of either side, in messages of all sizes.
        let lengths = [0, 1, 16_384, 16_385, 65_536, 40_000, 65_536, 3];
        for length in lengths {
            session.send(&vec![7; length]).unwrap();
        }
        for length in lengths {
            assert_eq!(session.recv().unwrap().map(|message| message.len()), Some(length));
        }
        session.drain(Duration::from_secs(5));
        // Longer than either side waits: heartbeats go both ways.
        assert!(session.over_within(Duration::from_secs(4)).is_none());
        assert!(session.rtt().is_some() && !session.is_unresponsive());
        session.close(Bye::new(Reason::Restarting).back_in(Duration::from_secs(30)).text("see you"));
        let told: Vec<String> = lengths.iter().map(|length| format!("message {length}")).collect();
        assert_eq!(python.rest(), [&told[..], &["drain 5000".into(), "bye 1 30000 see you".into()]].concat());
    }
}

#[test]
fn the_peer_ends_drains_resets_and_leaves() {
    for python_connects in [true, false] {
        let (leaving, python) = session(python_connects, &["big:65536", "drain", "end", "wait:0.3", "bye"]);
        assert_eq!(leaving.recv().unwrap().map(|message| message.len()), Some(65_536));
        assert_eq!(leaving.recv().unwrap(), None);
        assert_eq!(leaving.draining(), Some(Duration::from_secs(1)));
        assert!(matches!(leaving.over_within(Duration::from_secs(10)), Some(None)));
        assert_eq!(leaving.goodbye(), Some(Bye::new(Reason::Done).text("thanks")));
        assert_eq!(python.rest(), ["up rust", "bye 0 0 "]);

        let (lost, _python) = session(python_connects, &["send:half of it", "reset"]);
        assert_eq!(lost.recv().unwrap().as_deref(), Some(&b"half of it"[..]));
        let error = lost.recv().unwrap_err();
        assert!(error.to_string().contains("the connection behind it was lost"), "{error}");
    }
}
