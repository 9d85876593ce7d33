//! What can't be kept is refused before anything is listened on.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::deadpeer;
use crate::told::Told;

/// How it ended, and what it said on stderr.
fn ends(args: &[&str]) -> (Option<i32>, String) {
    let output = deadpeer().args(args).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_is_unsafe_or_impossible_is_refused_with_a_reason() {
    let folder = tempfile::TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    let missing = folder.path().join("missing.pem");
    let missing = missing.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 17] = [
        (&["serve", "--listen", "0.0.0.0:0"], &["others can reach 0.0.0.0:0", "--tls-cert", "--insecure"]),
        (&["serve", "--listen", "[::]:0"], &["others can reach [::]:0", "--insecure"]),
        (&["connect", "127.0.0.1:1", "--listen", "0.0.0.0:0"], &["not encrypted", "--insecure"]),
        (&["connect", "127.0.0.1:1", "--insecure"], &["--listen"]),
        (&["connect", "127.0.0.1:1", "--ca", missing], &["--tls"]),
        (&["serve", "--listen", "localhost:7433"], &["ADDRESS:PORT", "or a PORT"]),
        (&["serve", "--listen", "192.0.2.1:0", "--insecure"], &["listening on 192.0.2.1:0", "(os error"]),
        (&["serve", "--tls-cert", missing], &["--tls-key"]),
        (&["serve", "--tls-cert", missing, "--tls-key", missing], &[missing, "No such file"]),
        (&["serve", "--tls-cert", empty, "--tls-key", empty], &[empty, "no certificate"]),
        (&["serve", "--client-ca", empty], &["--tls-cert"]),
        (&["serve", "--max-sessions", "100000000"], &["limit of open files", "ulimit -n"]),
        (&["serve", "--max-sessions", "0"], &["--max-sessions"]),
        (&["serve", "--detect", "1s", "--tolerate", "2s"], &["outage", "2 s"]),
        (&["serve", "--id", "a\nb"], &["control characters"]),
        (&["connect", "nowhere"], &["HOST:PORT"]),
        (&["connect", "127.0.0.1:1", "--tries", "1"], &[]),
    ];
    for (args, words) in cases {
        let (code, said) = ends(args);
        // To have used up one's tries is an answer, not an error.
        assert_eq!(code, Some(if words.is_empty() { 1 } else { 2 }), "{args:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{args:?}: no {word:?} in {said}");
        }
        assert_eq!(said.is_empty(), words.is_empty(), "{args:?}: {said}");
    }
}

#[test]
fn so_many_tries_are_that_many() {
    for tries in ["1", "2"] {
        let output =
            deadpeer().args(["connect", "127.0.0.1:1", "--json", "--tries", tries]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.matches(r#""event":"refused""#).count().to_string(), tries, "{text}");
    }
}

#[test]
fn a_port_that_is_taken_is_said() {
    let mut first = Told::start(&["serve", "--json", "--listen", "0"]);
    let taken = first.next("listening")["address"].as_str().unwrap().to_owned();
    for args in [["serve", "--listen", &taken], ["serve", "--status", &taken]] {
        let mut all = vec!["--listen", "0"];
        all.splice(.., args.iter().copied());
        if args[1] == "--status" {
            all.extend(["--listen", "0"]);
        }
        let (code, said) = ends(&all);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&taken) && said.contains("in use"), "{said}");
    }
    // The first one noticed nothing of it.
    assert!(first.program.try_wait().unwrap().is_none());
}

/// A server and a client with these goals.
fn pair(serve: &[&str], connect: &[&str]) -> (Told, Told) {
    let mut serve = Told::start(&[&["serve", "--json", "--listen", "0"], serve].concat());
    let address = serve.next("listening")["address"].as_str().unwrap().to_owned();
    let connect = Told::start(&[&["connect", &address, "--json", "--id", "pi-17"], connect].concat());
    (serve, connect)
}

#[test]
fn what_is_agreed_follows_from_what_both_want() {
    let slow = ["--detect", "10min", "--tolerate", "1min"];
    let behind_a_nat = [&slow[..], &["--nat", "20s"]].concat();
    // Goals of both; how long each waits for the other, and how often it beats.
    type Times = [f64; 2];
    let cases: [(&[&str], &[&str], [Times; 2]); 3] = [
        (&["--detect", "9s", "--tolerate", "2s"], &["--detect", "9s", "--tolerate", "2s"], [[9e3, 3e3]; 2]),
        (&slow, &behind_a_nat, [[600e3, 200e3], [600e3, 19.5e3]]),
        // Each side sends as often as the other one needs.
        (
            &["--detect", "15s", "--tolerate", "4s"],
            &["--detect", "3min", "--tolerate", "4s"],
            [[15e3, 60e3], [180e3, 5e3]],
        ),
    ];
    for (there, here, expected) in cases {
        let (mut serve, mut connect) = pair(there, here);
        for (told, expected) in [&mut serve, &mut connect].into_iter().zip(expected) {
            let arrived = told.next("arrived");
            let times = ["tolerance_ms", "interval_ms"].map(|key| arrived[key].as_f64().unwrap());
            assert_eq!(times, expected, "{there:?} {here:?}");
        }
    }
}

#[test]
fn a_server_that_sends_too_seldom_is_refused() {
    let there = ["--detect", "5min", "--tolerate", "2s", "--beat-every", "1min"];
    let (mut serve, mut connect) = pair(&there, &["--detect", "9s", "--tolerate", "2s"]);
    let refused = connect.next("refused");
    assert_eq!(refused["cause"], "too-slow", "{refused}");
    assert!(refused["text"].as_str().unwrap().contains("9 s"), "{refused}");
    let left = serve.next("left");
    assert!(left["text"].as_str().unwrap().contains("too slow"), "{left}");
}

#[test]
fn a_reader_that_goes_away_ends_it_well() {
    let mut command = Command::new("bash");
    let serve = r#"set -o pipefail; "$0" serve --listen 0 --json | head -n 1"#;
    let mut first = command.args(["-c", serve, env!("CARGO_BIN_EXE_deadpeer")]);
    first = first.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = first.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(running.stdout.take().unwrap()), &mut line)
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = line["address"].as_str().unwrap();
    // The next event finds nobody to be told to: `serve` says goodbye and ends.
    let left = deadpeer().args(["connect", address, "--json", "--tries", "1"]).output().unwrap();
    assert_eq!(left.status.code(), Some(1));
    let output = running.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
