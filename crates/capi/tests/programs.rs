//! Programs in C and C++ use the library, and notice a host that falls silent in the time that was predicted.
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::{CAPI, built, example, tool};
use deadpeer_lab::{Direction, Network, Place, Program, isolated};

/// Detect within so many seconds, survive so many.
const GOALS: [&str; 2] = ["6", "1"];

/// A program that runs on a host of the network, and its lines.
struct Running {
    program: Program,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn on(network: &Network, place: Place, program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped());
        let mut program = network.spawn(place, &mut command).unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap());
        Self { program, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the program ended: {:?}", self.program.wait());
        line.truncate(line.len() - 1);
        line
    }

    /// The port of "listening on PORT".
    fn port(&mut self) -> u16 {
        let line = self.line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).parse().unwrap()
    }
}

/// "… lost after 6.2 s of silence, predicted 5.0 to 6.1 s: the peer …": what was measured is what was predicted.
/// Returns the explanation.
fn checked(line: &str, program: &str, cut: Instant) -> String {
    println!("{program}: {line}");
    let (_, line) = line.split_once("lost after ").unwrap_or_else(|| panic!("{line}"));
    let (measured, line) = line.split_once(" s of silence, predicted ").unwrap();
    let (least, line) = line.split_once(" to ").unwrap();
    let (most, explanation) = line.split_once(" s: ").unwrap();
    let [measured, least, most] = [measured, least, most].map(|number| number.parse::<f64>().unwrap());
    assert!(2.0 < least && least <= most && most <= 6.0, "the policy promises 6 s: {least} to {most}");
    // Early is wrong; late may be a busy machine.
    assert!(least - 0.1 <= measured && measured <= most + 2.0, "{measured} s, predicted {least} to {most} s");
    assert!(cut.elapsed() < Duration::from_secs_f64(most + 3.0), "{:?} after the cut", cut.elapsed());
    explanation.to_owned()
}

#[test]
fn a_client_blocked_in_select() {
    isolated!(|| {
        let Some(program) = example("select_client.c", &[]) else { return };
        let network = Network::new().unwrap();
        let right = Network::RIGHT_V4[0];
        let server = network.right(|| TcpListener::bind((right, 0))).unwrap();
        let port = server.local_addr().unwrap().port().to_string();
        let arguments = [&right.to_string(), &port, GOALS[0], GOALS[1]];

        // First one whose server closes.
        let mut client = Running::on(&network, Place::Left, &program, &arguments);
        drop(server.accept().unwrap());
        assert_eq!([client.line(), client.line()], ["connected", "the server closed"]);
        assert_eq!(client.program.wait().unwrap().code(), Some(0));

        let mut client = Running::on(&network, Place::Left, &program, &arguments);
        let (mut stream, _) = server.accept().unwrap();
        assert_eq!(client.line(), "connected");
        stream.write_all(b"hello\n").unwrap();
        assert_eq!(client.line(), "hello");
        let (cut, _silent) = (Instant::now(), network.cut(Direction::Both).unwrap());
        let why = checked(&client.line(), "select_client.c", cut);
        assert!(why.starts_with("the peer fell silent while the connection was idle"), "{why}");
        assert_eq!(client.program.wait().unwrap().code(), Some(3));
    });
}

/// An echo server loses the client whose host falls silent, in time, and keeps serving the others.
fn server_loses_a_silent_client(source: &str, libraries: &[&str]) {
    let Some(program) = example(source, libraries) else { return };
    let network = Network::new().unwrap();
    let mut server = Running::on(&network, Place::Right, &program, &["0", GOALS[0], GOALS[1]]);
    let port = server.port();
    let connect = || network.left(|| TcpStream::connect((Network::RIGHT_V4[0], port))).unwrap();

    let closing = connect();
    let id = server.line().strip_suffix(": accepted").unwrap().to_owned();
    drop(closing);
    assert_eq!(server.line(), format!("{id}: the client closed"));
    let deletes = source.ends_with("cpp");
    if deletes {
        assert_eq!(server.line(), format!("{id}: deleted"));
    }

    let mut client = connect();
    let id = server.line().strip_suffix(": accepted").unwrap().to_owned();
    client.write_all(b"hello").unwrap();
    let mut echo = [0; 5];
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
    let (cut, silent) = (Instant::now(), network.cut(Direction::Both).unwrap());
    let line = server.line();
    assert!(line.starts_with(&format!("{id}: lost after ")), "{line}");
    let why = checked(&line, source, cut);
    assert!(why.starts_with("the peer fell silent while the connection was idle"), "{why}");
    if deletes {
        assert_eq!(server.line(), format!("{id}: deleted"));
    }

    silent.heal().unwrap();
    let mut another = connect();
    assert!(server.line().ends_with(": accepted"));
    another.write_all(b"hello").unwrap();
    another.read_exact(&mut echo).unwrap();
}

#[test]
fn an_epoll_server() {
    isolated!(|| server_loses_a_silent_client("epoll_server.c", &[]));
}

#[test]
fn a_server_on_ace() {
    isolated!(|| {
        if !Path::new("/usr/include/ace/SOCK_Stream.h").exists() {
            common::missing("libace-dev", std::io::ErrorKind::NotFound.into())
        } else {
            server_loses_a_silent_client("ace_server.cpp", &["-lACE"]);
        }
    });
}

/// Programs that carry the library in themselves.
#[test]
fn the_static_library_links() {
    let Some(mut cc) = tool("cc") else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("client");
    let output = cc
        .arg("-I")
        .arg(Path::new(CAPI).join("include"))
        .arg(Path::new(CAPI).join("examples/select_client.c"))
        .arg(&built().archive)
        .args(["-lpthread", "-lm", "-ldl", "-o"])
        .arg(&program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Goals that contradict each other are told by the library, not by a crash.
    let output = Command::new(&program).args(["localhost", "1", "5", "6"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("a death can't be noticed within 5 s when an outage of 6 s"), "{text}");
}
