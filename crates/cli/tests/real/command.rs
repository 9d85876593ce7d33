//! The command line: exit codes, filters, pipes, namespaces.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::common::{deadpeer, row, rows, scan, verdict};
use deadpeer_lab::{Network, Pair, isolated};

fn run(args: &[&str]) -> Output {
    deadpeer().args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_arguments_are_told_with_what_there_is() {
    for (args, told) in [
        (&["scan", "prot:22"][..], "did you mean `port`"),
        (&["scan", "verdict:dying"], "suspect"),
        (&["scan", "--fail-on", "dying"], "suspect"),
        (&["scan", "--probe", "--gap", "200ms"], "tcp_invalid_ratelimit"),
        (&["scan", "--probe", "--tries", "3", "--timeout", "2s"], "before the last try"),
        (&["scan", "--tries", "3"], "--probe"),
        (&["scan", "--fresh", "5"], "500ms, 3s"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(told), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn fail_on_decides_the_exit_code() {
    isolated!(|| {
        let leaked = Pair::loopback().unwrap();
        leaked.server.shutdown(Shutdown::Both).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = "--leaked-after=200ms";
        assert_eq!(run(&["scan", now, "--fail-on", "dead,leaked"]).status.code(), Some(1));
        assert_eq!(run(&["scan", now, "--fail-on", "dead"]).status.code(), Some(0));
        assert_eq!(run(&["scan", "--fail-on", "leaked"]).status.code(), Some(0), "closed a moment ago");
        assert_eq!(scan(&[now, "verdict:leaked"]).len(), 1);
        let port = format!("port:{}", leaked.client.local_addr().unwrap().port());
        assert_eq!(scan(&[&port]).len(), 2, "both ends");
        assert_eq!(scan(&[&format!("!{port}")]).len(), 0);
        assert_eq!(scan(&["-6"]).len(), 0);
        assert_eq!(scan(&[&format!("pid:{}", std::process::id()), "state:close-wait"]).len(), 1);
    });
}

#[test]
fn every_key_is_there_even_where_nothing_is_known() {
    isolated!(|| {
        let _pair = Pair::loopback().unwrap();
        let keys = [
            "schema",
            "verdict",
            "cause",
            "evidence",
            "local",
            "peer",
            "state",
            "pid",
            "process",
            "uid",
            "unit",
            "netns",
            "inode",
            "cookie",
            "idle_ms",
            "rtt_ms",
            "probe_ms",
            "keepalive",
            "user_timeout_ms",
            "detection",
            "tries",
            "retransmits",
            "probes_out",
            "send_q",
            "recv_q",
            "owners",
            "unknown",
        ];
        for args in [&[][..], &["--skip-settings"], &["--listeners"]] {
            for row in scan(args) {
                for key in keys {
                    assert!(row.get(key).is_some(), "{key} in {row}");
                }
                assert!(!row["evidence"].as_array().unwrap().is_empty());
            }
        }
        // What the list's own timer proves needs no access: no timer, so keepalive is off.
        let row = &scan(&["--skip-settings"])[0];
        assert_eq!(row["keepalive"]["enabled"], false);
        assert_eq!(row["detection"]["idle"]["kind"], "never");
        assert_eq!(row["detection"]["in_flight"]["kind"], "unknown");
    });
}

#[test]
fn a_closed_pipe_is_no_error() {
    isolated!(|| {
        let _pairs: Vec<_> = (0..200).map(|_| Pair::loopback().unwrap()).collect();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = deadpeer()
            .args(["scan", "--json"])
            .stdout(Stdio::from(OwnedFd::from(writer)))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    });
}

#[test]
fn ctrl_c_while_asking_prints_what_is_known_and_ends_with_130() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let _severed = pair.sever().unwrap();
        let child = deadpeer().args(["scan", "--json", "--probe"]).stdout(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        until_it_handles_sigint(child.id());
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let row: serde_json::Value =
            serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().next().unwrap()).unwrap();
        assert!(row["unknown"]["probe_ms"].as_str().unwrap().contains("interrupted"), "{row}");
    });
}

/// Waits until the process has a handler for SIGINT (`SigCgt`, proc_pid_status(5)).
fn until_it_handles_sigint(pid: u32) {
    const SIGINT: u64 = 1 << (2 - 1);
    let handles = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & SIGINT != 0
    };
    while !handles() {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn groups_sum_up() {
    isolated!(|| {
        let _pairs: Vec<_> = (0..3).map(|_| Pair::loopback().unwrap()).collect();
        let output = run(&["scan", "--group-by", "peer"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "6 connections to 127.0.0.1: 6 alive\n");
        let output = run(&["scan", "--group-by", "verdict", "--json"]);
        assert_eq!(rows(&output)[0]["connections"], 6);
    });
}

#[test]
fn all_namespaces_are_looked_into_and_asked() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let pair = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
        // A namespace is found by a process in it.
        let mut sleeper = std::process::Command::new("sleep");
        let _left = network.spawn(deadpeer_lab::Place::Left, sleeper.arg("60")).unwrap();
        let local = pair.client.local_addr().unwrap();
        assert!(!scan(&[]).iter().any(|row| row["local"] == local.to_string()));
        // Other tests' connections are not ours to ask.
        let port = format!("local::{}", local.port());
        let rows = scan(&["--all-netns", "--probe", &port]);
        let found = row(&rows, local);
        assert_eq!(verdict(found), "alive answered");
        assert_eq!(found["pid"], std::process::id());
    });
}
