//! `deadpeer lab prove` on programs that nobody here wrote.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::deadpeer;
use deadpeer_lab::isolated;

/// A server that accepts one connection and says nothing.
fn server() -> (String, thread::JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let on = listener.local_addr().unwrap().to_string();
    (on, thread::spawn(move || listener.accept().unwrap().0))
}

/// A shell that connects to `on` as descriptor 3 and then does `what`.
fn shell(on: &str, what: &str) -> [String; 3] {
    ["bash".into(), "-c".into(), format!("exec 3<>/dev/tcp/{}; {what}", on.replace(':', "/"))]
}

fn prove(args: &[&str], on: &str, what: &str) -> (Option<i32>, String) {
    let mut command = deadpeer();
    command.args(["lab", "prove", "--after", "0ms", "--on", on]).args(args).arg("--").args(shell(on, what));
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn who_notices_in_time_and_who_does_not() {
    isolated!(|| {
        let cases: [(&[&str], &str, i32, &str); 5] = [
            // A timeout of the program's own, long enough to be found and made deaf before, also on a busy machine.
            (&["--within", "10s"], "read -t 4 -u 3", 0, "and ended (exit status 142)"),
            (&["--within", "500ms"], "read -t 4 -u 3", 1, "still waits after"),
            (&["--within", "1s", "--fault", "outage:500ms"], "cat <&3", 0, "survived the outage"),
            (
                &["--within", "1s", "--fault", "outage:6s"],
                "read -t 4 -u 3",
                1,
                "gave a healthy connection up",
            ),
            (&["--within", "5s", "--fault", "reset"], "cat <&3", 0, "noticed after"),
        ];
        thread::scope(|scope| {
            for (args, what, code, words) in cases {
                scope.spawn(move || {
                    let (on, accepted) = server();
                    let (status, told) = prove(args, &on, what);
                    assert_eq!(status, Some(code), "{told}");
                    assert!(told.contains(words), "{told}");
                    drop(accepted.join());
                });
            }
        });
    });
}

#[test]
fn what_can_not_be_proven_is_an_error() {
    isolated!(|| {
        let (on, _) = server();
        let (status, told) = prove(&["--fault", "frozen"], &on, "cat <&3");
        assert_eq!(status, Some(2));
        assert!(told.contains("--touch-peer"), "{told}");
        let output = deadpeer().args(["lab", "prove", "--on", &on, "--", "true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("before it was connected"));
    });
}

#[test]
fn killed_itself_it_leaves_no_socket_deaf() {
    isolated!(|| {
        let (on, accepted) = server();
        let mut command = deadpeer();
        command.args(["lab", "prove", "--after", "0ms", "--on", &on, "--"]).args(shell(&on, "cat <&3"));
        let mut proving = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let server = accepted.join().unwrap();
        let mut lines = BufReader::new(proving.stderr.take().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap().contains("hears nothing")).unwrap().unwrap();
        proving.kill().unwrap();
        proving.wait().unwrap();
        // As soon as the program hears again, it acknowledges.
        (&server).write_all(b"do you hear me?").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while deadpeer::diagnose(&server).unwrap().facts.in_flight > 0 {
            assert!(Instant::now() < deadline, "the program's end is still deaf");
            thread::sleep(Duration::from_millis(20));
        }
    });
}
