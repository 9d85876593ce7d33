//! `plan`, `explain` and `help`: the command as its users meet it.

use std::fs;
use std::process::{Command, Output};

use crate::common::deadpeer;
use deadpeer_lab::{Pair, isolated};
use serde_json::Value;
use socket2::SockRef;

fn run(args: &[&str]) -> Output {
    deadpeer().args(args).output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn a_plan_reads_well() {
    insta::assert_snapshot!(stdout(&["plan", "--os", "linux", "--detect", "30s", "--tolerate", "8s"]));
}

#[test]
fn the_readme_shows_what_is_printed() {
    let readme = include_str!("../../../../README.md");
    let plan = stdout(&["plan", "--os", "linux", "--detect", "30s", "--tolerate", "8s"]);
    let (shown, _reasons) = plan.split_once("\nWhy\n").unwrap();
    let indented: Vec<_> = shown.lines().map(|line| format!("    {line}").trim_end().to_owned()).collect();
    assert!(readme.contains(&indented.join("\n")), "{shown}");
}

#[test]
fn a_plan_with_every_goal_reads_well() {
    insta::assert_snapshot!(stdout(&[
        "plan",
        "--os",
        "linux",
        "--detect=10m",
        "--tolerate=20s",
        "--nat=350s",
        "--budget=1MB/day",
        "--slow-readers",
        "--accept-rto-ceiling",
    ]));
}

#[test]
fn a_plan_that_spares_slow_readers_says_what_is_possible() {
    let plan = ["plan", "--os", "linux", "--detect=30s", "--slow-readers"];
    insta::assert_snapshot!(stdout(&plan));
    // The ceiling has a price, and no plan has it unasked.
    assert!(!stdout(&[&plan[..], &["--emit", "c"]].concat()).contains("RTO_MAX"));
    let accepted = stdout(&[&plan[..], &["--accept-rto-ceiling", "--json"]].concat());
    for kind in ["rto-ceiling-loses-data", "rto-ceiling-ends-sooner", "rto-ceiling-congests"] {
        assert!(accepted.contains(kind), "{accepted}");
    }
}

#[test]
fn plans_for_other_systems_read_well() {
    for os in ["windows", "windows-1607", "macos", "freebsd"] {
        insta::assert_snapshot!(os, stdout(&["plan", "--os", os, "--detect", "60s", "--tolerate", "10s"]));
    }
}

#[test]
fn a_plan_as_json_has_its_keys() {
    let text = stdout(&["plan", "--os", "linux", "--detect=30s", "--tolerate=8s", "--json"]);
    let plan: Value = serde_json::from_str(&text).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).unwrap());
}

#[test]
fn a_goal_out_of_reach_is_an_error_that_names_both_numbers() {
    let args = ["plan", "--os", "linux", "--detect", "3s", "--tolerate", "2s"];
    let output = run(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("within 3 s: the best that survives the outage is 7.6 s"), "{output:?}");
    assert!(output.stdout.is_empty());
    let output = run(&[&args[..], &["--json"]].concat());
    let refusal: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&refusal["error"]["wish"], &refusal["error"]["wanted"]), (&"detect".into(), &3000.into()));
    // What is called the best can be had.
    let best = format!("{}ms", refusal["error"]["best"]);
    stdout(&["plan", "--os", "linux", "--detect", &best, "--tolerate", "2s"]);
}

#[test]
fn goals_come_from_a_file_and_flags_go_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    fs::write(&path, "detect = \"40s\"\ntolerate = \"5s\"\n").unwrap();
    let path = path.to_str().unwrap();
    let goals = |args: &[&str]| -> Value {
        let text = stdout(&[&["plan", "--json", "--policy", path], args].concat());
        serde_json::from_str::<Value>(&text).unwrap()["goals"].clone()
    };
    assert_eq!((&goals(&[])["detect_ms"], &goals(&[])["tolerate_ms"]), (&40_000.into(), &5_000.into()));
    let flags = goals(&["--detect", "20s"]);
    assert_eq!((&flags["detect_ms"], &flags["tolerate_ms"]), (&20_000.into(), &5_000.into()));
    fs::write(path, "detect = \"40s\"\ntolerat = \"5s\"\n").unwrap();
    let output = run(&["plan", "--policy", path]);
    assert_eq!(output.status.code(), Some(2));
    let expected = format!("{path}: line 2: there is no key `tolerat`, did you mean `tolerate`?");
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    let output = run(&["plan", "--policy", "/nonexistent"]);
    assert!(stderr(&output).contains("--policy /nonexistent: No such file"), "{}", stderr(&output));
}

#[test]
fn bad_values_say_what_would_do() {
    for (args, expected) in [
        (["plan", "--detect", "30"], "a time is a number with its unit"),
        (["plan", "--budget", "1MB"], "a budget is a number with its units: 1MB/day"),
        (["plan", "--os", "linus"], "a similar value exists: 'linux'"),
        (["plan", "--emit", "ruby"], "possible values: rust, c, python"),
        (["explain", "--limit", "2"], "<FILTER>"),
        (["explain", "prot:80", "--json"], "did you mean `port`?"),
    ] {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn explain_tells_what_is_wrong_and_what_to_set() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let client = SockRef::from(&pair.client);
        client.set_tcp_user_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let port = pair.client.local_addr().unwrap().port();
        let local = format!("local::{port}");
        let text = stdout(&["explain", &local]).split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in [
            "TCP_USER_TIMEOUT 5 s",
            "idle never",
            "The user timeout alone acts only on data in flight.",
            "What to set, to notice a death within 30 s",
        ] {
            assert!(text.contains(expected), "{expected} not in {text}");
        }
        let line: Value = serde_json::from_str(&stdout(&["explain", &local, "--json"])).unwrap();
        assert_eq!(line["concerns"][0]["kind"], "keepalive-off");
        assert_eq!(line["connection"]["user_timeout_ms"], 5_000);
        // Both ends match: one is told, the other counted.
        let output = run(&["explain", &format!("port:{port}"), "--limit", "1"]);
        assert!(stderr(&output).contains("1 more match (--limit)"), "{}", stderr(&output));
        // What it says to set leaves nothing to complain of that a plan would not.
        let policy = deadpeer::Goals::default().policy().unwrap();
        let _ = deadpeer::apply(&pair.client, &policy).unwrap();
        let line: Value = serde_json::from_str(&stdout(&["explain", &local, "--json"])).unwrap();
        let left: Vec<_> = line["concerns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|concern| concern["kind"].as_str().unwrap())
            .collect();
        assert!(left.iter().all(|kind| ["count-ignored", "slow-reader-ends"].contains(kind)), "{left:?}");
    });
}

#[test]
fn nothing_that_matches_is_said_and_exits_with_1() {
    isolated!(|| {
        let output = run(&["explain", "port:9"]);
        assert_eq!((output.status.code(), stderr(&output)), (Some(1), "deadpeer: no connection matches\n"));
    });
}

#[test]
fn the_systems_own_defaults_are_explained() {
    isolated!(|| {
        let text = stdout(&["explain", "--system"]);
        let keepalive = fs::read_to_string("/proc/sys/net/ipv4/tcp_keepalive_time").unwrap();
        assert!(text.contains(&format!("tcp_keepalive_time       {} s", keepalive.trim())), "{text}");
        assert!(text.contains("For a socket that sets nothing, a silent peer is noticed after"), "{text}");
    });
}

#[test]
fn help_knows_topics_and_commands() {
    for (topic, expected) in [
        ("keepalive", "a user timeout\n                    replaces this number"),
        ("verdicts", "mtu-black-hole"),
        ("probing", "an empty segment that the peer must"),
        ("certainty", "if losses are independent"),
        ("privileges", "CAP_NET_ADMIN"),
        ("plan", "Usage: deadpeer plan"),
    ] {
        let text = stdout(&["help", topic]);
        assert!(text.contains(expected), "{topic}: {text}");
        assert!(!text.contains('`') && !text.contains("**"), "{topic}: {text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{topic}: {text}");
    }
    assert_eq!(run(&["help", "nothing"]).status.code(), Some(2));
}

#[test]
fn manual_and_completions_are_well_formed() {
    let page = stdout(&["man", "plan"]);
    assert!(page.contains(".TH deadpeer-plan 1") && page.contains("\\-\\-detect"), "{page}");
    assert!(stdout(&["man"]).contains("deadpeer\\-explain"));
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&["completions", shell]);
        assert!(script.contains("slow-readers"), "{shell}");
        let path = folder.path().join(shell);
        fs::write(&path, script).unwrap();
        // Each shell that is here reads its own.
        match Command::new(shell).arg("-n").arg(&path).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {output:?}"),
            Err(_) => eprintln!("skipped: {shell} is not installed"),
        }
    }
}
