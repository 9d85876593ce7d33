//! `deadpeer ping`, on peers that live, fall silent and go away.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use crate::common::{deadpeer, rows};
use deadpeer_lab::{Pair, isolated};
use rustix::process::{Pid, Signal, kill_process};

fn local(pair: &Pair) -> String {
    format!("local::{}", pair.client.local_addr().unwrap().port())
}

/// Reads the rest of a child's output and its exit status.
fn ended(mut child: Child, mut reader: impl Read) -> (String, Option<i32>) {
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    (rest, child.wait().unwrap().code())
}

#[test]
fn a_living_peer_answers_and_is_summed_up() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let output = deadpeer().args(["ping", &local(&pair), "-c", "3", "-i", "0.6"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(text.matches("answer from ").count(), 3, "{text}");
        assert!(text.contains("3 questions, 3 answers, 0 % without, time min/avg/max = "), "{text}");
    });
}

#[test]
fn silence_is_told_as_it_lasts_and_ends_with_1() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let _severed = pair.sever().unwrap();
        let output = deadpeer().args(["ping", &local(&pair), "-c2", "-i600ms", "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let mut output = output;
        output.status = std::process::ExitStatus::default();
        let rows = rows(&output);
        assert_eq!(rows.len(), 3, "{text}");
        assert!(rows[..2].iter().all(|row| row["answer"] == "none" && row["time_ms"].is_null()), "{text}");
        assert_eq!((&rows[2]["questions"], &rows[2]["answers"]), (&2.into(), &0.into()));
    });
}

#[test]
fn ctrl_c_ends_it_with_the_summary() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let mut child = deadpeer().args(["ping", &local(&pair)]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("seq=2") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended early");
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let (rest, code) = ended(child, lines);
        assert_eq!(code, Some(0), "{rest}");
        assert!(rest.contains(" 0 % without, time min/avg/max"), "{rest}");
    });
}

#[test]
fn a_connection_that_is_closed_meanwhile_ends_it() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let mut child =
            deadpeer().args(["ping", &local(&pair), "-i1s"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("seq=1") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended early");
        }
        drop(pair);
        let (rest, code) = ended(child, lines);
        assert_eq!(code, Some(0), "{rest}");
        assert!(rest.contains("is gone: closed here") || rest.contains("can't be asked"), "{rest}");
    });
}

#[test]
fn a_pipe_that_closes_is_no_error() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let mut child = deadpeer()
            .args(["ping", &local(&pair), "-i600ms"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let stderr = child.stderr.take().unwrap();
        let (said, _) = ended(child, stderr);
        assert_eq!(said, "");
    });
}

#[test]
fn who_can_not_be_asked_is_told_why() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        pair.server.shutdown(std::net::Shutdown::Write).unwrap();
        let output = deadpeer().args(["ping", &local(&pair), "-c1"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains(
                "can't be asked: only an established connection can be asked, this one is close-wait"
            ),
            "{text}"
        );
    });
}

#[test]
fn questions_too_close_are_refused_with_the_reason() {
    let output = deadpeer().args(["ping", "port:9", "-i", "0.5"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("tcp_invalid_ratelimit") || stderr.contains("without CAP_NET_ADMIN"), "{stderr}");
}

#[test]
fn without_the_right_each_question_leaves_however_fresh_the_last_answer() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        // Right after the connection was made, and right after the run before.
        for _ in 0..2 {
            let output = std::process::Command::new("setpriv")
                .args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"])
                .arg(env!("CARGO_BIN_EXE_deadpeer"))
                .args(["ping", &local(&pair), "-c2"])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains("every 2 s") && text.contains("2 questions, 2 answers"), "{text}");
        }
        assert!(!socket2::SockRef::from(&pair.client).keepalive().unwrap(), "keepalive is off again");
    });
}
