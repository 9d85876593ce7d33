//! `deadpeer lab`: what it measures agrees with what core predicts, and it leaves nothing behind.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::deadpeer;
use deadpeer_lab::{Unavailable, isolated, skip};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

fn cells(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn mark<'c>(cells: &'c [Value], fault: &str, method: &str) -> &'c str {
    let cell = cells.iter().find(|cell| cell["fault"] == fault && cell["method"] == method);
    cell.unwrap()["mark"].as_str().unwrap()
}

#[test]
fn every_cell_of_the_quick_matrix_is_as_predicted() {
    let started = Instant::now();
    let output = deadpeer().args(["lab", "--json", "--seed", "7", "-n", "2"]).output().unwrap();
    let cells = cells(&output);
    assert_eq!(cells.len(), 19 * 8, "{}", String::from_utf8_lossy(&output.stderr));
    let mut no_links = None;
    for cell in &cells {
        assert_eq!(cell["as_expected"], true, "{cell}");
        let why = cell["runs"][0]["left_out"].as_str().unwrap_or_default();
        if why.contains("/dev/net/tun") {
            no_links = Some(why.to_owned());
            continue;
        }
        assert_ne!(cell["mark"], "left-out", "{cell}");
    }
    assert_eq!(output.status.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    // What the page about the lab explains.
    assert_eq!(mark(&cells, "silent", "read"), "never");
    assert_eq!(mark(&cells, "silent", "keepalive"), "noticed");
    assert_eq!(mark(&cells, "frozen", "keepalive"), "never");
    assert_eq!(mark(&cells, "frozen", "heartbeat"), "noticed");
    assert_eq!(mark(&cells, "shut-window", "user-timeout"), "false-alarm");
    // The option and the sysctl came with the same kernel, 6.15.
    let has_ceiling = std::path::Path::new("/proc/sys/net/ipv4/tcp_rto_max_ms").exists();
    let spared = if has_ceiling { "lives" } else { "not-applicable" };
    assert_eq!(mark(&cells, "shut-window", "rto-max"), spared);
    assert_eq!(mark(&cells, "outage", "heartbeat"), "lives");
    let aborted = cells.iter().find(|cell| cell["fault"] == "aborted" && cell["method"] == "read").unwrap();
    assert_eq!(aborted["how"], "ECONNRESET");
    if let Some(why) = no_links {
        let why = Unavailable { needs: "its faults of an impaired link", why: std::io::Error::other(why) };
        return skip("every_cell_of_the_quick_matrix_is_as_predicted", &why);
    }
    for healthy in ["long-round-trip", "lossy"] {
        for cell in cells.iter().filter(|cell| cell["fault"] == healthy) {
            assert_eq!(cell["mark"], "lives", "{cell}");
        }
    }
    for lossy in ["one-way", "one-way-out", "mtu-black-hole"] {
        assert_eq!(mark(&cells, lossy, "user-timeout"), "noticed");
        assert_eq!(mark(&cells, lossy, "heartbeat"), "noticed");
    }
    let hole = cells.iter().find(|cell| cell["fault"] == "mtu-black-hole" && cell["method"] == "heartbeat");
    assert_eq!(hole.unwrap()["how"], "closed", "the peer missed our beats");
    assert_eq!(mark(&cells, "closed-unread", "read"), "not-applicable");
}

#[test]
fn ctrl_c_prints_what_is_finished_and_leaves_no_process() {
    isolated!(|| {
        let mut command = deadpeer();
        command.args(["lab", "--json"]).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let group = Pid::from_child(&child);
        // The far ends that have to be processes are there as soon as the faults begin.
        let deadline = Instant::now() + Duration::from_secs(20);
        while count("lab peer") == 0 {
            assert!(Instant::now() < deadline, "no fault has begun");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs(2));
        kill_process_group(group, Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let cells = cells(&output);
        assert_eq!(cells.len(), 19 * 8);
        assert_eq!(mark(&cells, "closed", "read"), "noticed", "what was finished is told");
        let why = &cells.iter().find(|cell| cell["mark"] == "left-out").unwrap()["runs"][0]["left_out"];
        assert!(why.as_str().unwrap().contains("interrupted"), "{why}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while count("lab peer") > 0 {
            assert!(Instant::now() < deadline, "a far end is left");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

/// How many processes of this binary run with these arguments in the process tree of this test.
fn count(arguments: &str) -> usize {
    let this = std::process::id();
    let running = Command::new("ps").args(["-eo", "pid=,ppid=,args="]).output().unwrap();
    let text = String::from_utf8_lossy(&running.stdout).into_owned();
    let rows: Vec<(u32, u32, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.trim_start().splitn(2, ' ');
            let pid = fields.next()?.parse().ok()?;
            let mut fields = fields.next()?.trim_start().splitn(2, ' ');
            Some((pid, fields.next()?.parse().ok()?, fields.next()?))
        })
        .collect();
    let is_ours = |mut pid: u32| loop {
        match rows.iter().find(|row| row.0 == pid) {
            Some(&(_, parent, _)) if parent == this => return true,
            Some(&(_, parent, _)) if parent > 1 => pid = parent,
            _ => return false,
        }
    };
    rows.iter().filter(|row| row.2.contains(arguments) && is_ours(row.0)).count()
}
