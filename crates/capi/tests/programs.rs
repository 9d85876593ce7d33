//! Programs in C and C++ use the library, and notice a host that falls silent in the time that was predicted.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::running::{GOALS, Running, checked};
use common::{CAPI, built, example, tool};
use deadpeer_lab::{Direction, Network, Place, freeze, isolated};

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
        let mut client = Running::on(&network, Place::Left, Command::new(&program).args(arguments));
        drop(server.accept().unwrap());
        assert_eq!([client.line(), client.line()], ["connected", "the server closed"]);
        assert_eq!(client.program.wait().unwrap().code(), Some(0));

        let mut client = Running::on(&network, Place::Left, Command::new(&program).args(arguments));
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
    let mut server =
        Running::on(&network, Place::Right, Command::new(&program).args(["0", GOALS[0], GOALS[1]]));
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

/// The kernel of a frozen program goes on answering; only its heartbeats stop.
#[test]
fn heartbeats_of_a_program_that_hangs() {
    isolated!(|| {
        let Some(program) = example("heartbeat.c", &[]) else { return };
        let network = Network::new().unwrap();
        let right = Network::RIGHT_V4[0].to_string();
        let pair = || {
            let mut listen = Command::new(&program);
            listen.args(["listen", "0", GOALS[0], GOALS[1]]);
            let mut listening = Running::on(&network, Place::Right, &mut listen);
            let port = listening.port().to_string();
            let mut connect = Command::new(&program);
            connect.args(["connect", &right, &port, GOALS[0], GOALS[1]]);
            let mut connected = Running::on(&network, Place::Left, &mut connect);
            assert_eq!([connected.line(), connected.line()], ["up: listen", "message: hello"]);
            assert_eq!([listening.line(), listening.line()], ["up: connect", "message: hello"]);
            (listening, connected)
        };

        // One that leaves says so.
        let (mut leaving, mut left) = pair();
        let pid = libc::pid_t::try_from(leaving.program.id()).unwrap();
        // SAFETY: a program of ours that was not waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        assert_eq!(left.line(), "the peer leaves");
        assert_eq!(leaving.program.wait().unwrap().code(), Some(0));
        assert_eq!(left.program.wait().unwrap().code(), Some(0));

        let (mut hanging, mut watching) = pair();
        let since = Instant::now();
        let _frozen = freeze(&mut hanging.program).unwrap();
        checked(&watching.line(), "heartbeat.c", since);
        assert_eq!(watching.program.wait().unwrap().code(), Some(3));
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
