//! Programs built for Windows notice a host that falls silent, under wine: a server on a completion port of its own,
//! one on tokio, which has a completion port underneath, and a client blocked in select().
//!
//! Wine 8 hands SIO_KEEPALIVE_VALS on to Linux in whole seconds, and Linux counts its own number of probes. So the
//! policy is one whose plan has an interval of a second, and the namespace's number of probes is Windows' ten. Wine 10
//! takes the number of probes as well.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

mod common;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use common::CAPI;
use common::running::{Running, checked_within};
use deadpeer_lab::{Program, deafen, isolated};

const DETECT: u64 = 37;
const SURVIVE_MS: u64 = 8_500;

/// `.ci/systems test` says where the Windows builds are, and what runs them.
fn told(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run `.ci/systems test`")).into()
}

fn compiled(name: &str) -> PathBuf {
    let directory = told("DEADPEER_WINDOWS");
    let program = directory.join(format!("{name}.exe"));
    let status = Command::new("x86_64-w64-mingw32-gcc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-I"])
        .arg(Path::new(CAPI).join("include"))
        .arg(Path::new(CAPI).join(format!("examples/{name}.c")))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(&directory)
        .args(["-ldeadpeer", "-lws2_32"])
        .status()
        .unwrap();
    assert!(status.success());
    program
}

/// A program, our end of its connection, and when it last heard from that.
type Connected = (Running, TcpStream, Instant);

/// A server with a client that has heard its echo.
fn served(program: &Path, arguments: &[&str]) -> Connected {
    let mut command = Command::new(told("DEADPEER_WINE"));
    command.arg(program).args(arguments).stdout(Stdio::piped());
    let mut server = Running::of(Program::from(command.spawn().unwrap()));
    let mut client = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    // Wine has no TCP_MAXRT, and the server says so.
    let line = server.line();
    assert!(line.starts_with("not taken: TCP_MAXRT"), "{line}");
    assert!(server.line().ends_with(": accepted"));
    client.write_all(b"hello").unwrap();
    let mut echo = [0; 5];
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
    (server, client, Instant::now())
}

/// A client that has heard what its server said.
fn client(program: &Path, arguments: &[&str]) -> Connected {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut command = Command::new(told("DEADPEER_WINE"));
    command.arg(program).args(["127.0.0.1", &port]).args(arguments).stdout(Stdio::piped());
    let mut client = Running::of(Program::from(command.spawn().unwrap()));
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(client.line(), "connected");
    server.write_all(b"hello\n").unwrap();
    assert_eq!(client.line(), "hello");
    (client, server, Instant::now())
}

/// What a program says in which wine makes an end of file of a timeout: its wineserver takes SO_ERROR when select() or
/// a completion port's poll reports the end, and the program's recv() finds nothing but an end of file (seen with strace
/// in wine 10). The time is checked in any case, and counted from when the peer was last heard, as the kernel does.
fn lost(line: &str, program: &str, heard: Instant, cut: Instant, predicted: &str) {
    if !line.ends_with(" closed") {
        let why = checked_within(line, program, cut, DETECT as f64);
        assert_eq!(why, "the peer fell silent while the connection was idle (keepalive)");
        return;
    }
    let noticed = heard.elapsed().as_secs_f64();
    #[allow(clippy::print_stdout, reason = "the measured time, and what was not checked")]
    {
        println!("{program}: noticed after {noticed:.1} s of silence, predicted {predicted} s");
        println!("skipped on wine: {program}'s cause (wine made an end of file of the error)");
    }
    // Wine 8 rounds the milliseconds of SIO_KEEPALIVE_VALS down to seconds.
    let (earliest, _) = predicted.split_once(" to ").unwrap();
    let earliest = earliest.parse::<f64>().unwrap() - 1.0;
    assert!((earliest..DETECT as f64 + 2.0).contains(&noticed), "{noticed} s");
}

#[test]
#[ignore = "needs wine: .ci/systems test"]
fn what_waits_to_receive_ends_when_the_peer_falls_silent() {
    isolated!(|| {
        fs::write("/proc/sys/net/ipv4/tcp_keepalive_probes", "10").unwrap();
        let (detect, survive) = (DETECT * 1000, SURVIVE_MS);
        let [detect_ms, survive_ms] = [detect, survive].map(|ms| ms.to_string());
        let port = served(&compiled("completion_port_server"), &["0", &detect_ms, &survive_ms]);
        let [detect, survive] = [detect_ms, survive_ms].map(|ms| ms + "ms");
        let tokio = told("DEADPEER_WINDOWS").join("examples/guarded_echo_tokio.exe");
        let tokio = served(&tokio, &["serve", "127.0.0.1:0", &detect, &survive]);
        let selecting = client(&compiled("select_client"), &["37", "8.5"]);
        let ends = [&port.1, &tokio.1, &selecting.1];
        let (cut, _deaf) = (Instant::now(), ends.map(|end| deafen(end).unwrap()));
        let heard = [tokio.2, selecting.2];
        let [mut port, mut tokio, mut selecting] = [port.0, tokio.0, selecting.0];
        let line = port.line();
        let why = checked_within(&line, "completion_port_server", cut, DETECT as f64);
        assert_eq!(why, "the peer fell silent while the connection was idle (keepalive)");
        // The others have the same plan.
        let (_, predicted) = line.split_once("predicted ").unwrap();
        let (predicted, _) = predicted.split_once(" s:").unwrap();
        lost(&tokio.line(), "guarded_echo_tokio", heard[0], cut, predicted);
        lost(&selecting.line(), "select_client", heard[1], cut, predicted);
    });
}
