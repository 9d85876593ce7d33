//! The command on systems other than Linux: what works there, and what says that it does not.
#![cfg(not(target_os = "linux"))]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Exit code, standard output, standard error.
fn deadpeer(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_deadpeer")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn well(arguments: &[&str]) -> String {
    let (code, output, error) = deadpeer(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {error}");
    output
}

#[test]
fn plans_and_advice_are_the_same_everywhere() {
    assert!(well(&["plan", "--detect", "40s", "--os", "linux"]).contains("TCP_USER_TIMEOUT"));
    assert!(well(&["plan", "--detect", "40s", "--json"]).starts_with("{\"schema\":1,"));
    assert!(well(&["explain", "--system"]).contains("a silent peer is noticed after"));
    assert!(well(&["help"]).contains("scan"));
    assert!(well(&["help", "keepalive"]).contains("TCP_KEEPIDLE"));
    assert!(well(&["man"]).starts_with(".ie"));
    assert!(well(&["completions", "powershell"]).contains("deadpeer"));
}

#[test]
fn what_is_linux_alone_says_so() {
    for command in [&["scan"][..], &["ping", "port:1"], &["lab"], &["demo"], &["explain", "port:1"]] {
        let (code, output, error) = deadpeer(command);
        assert_eq!((code, output.as_str()), (Some(2), ""), "{command:?}");
        assert!(error.contains(&format!("`{}", command[0])) && error.contains("only on Linux"), "{error}");
    }
}

/// A client that is killed: its system closes for it.
#[test]
fn a_server_knows_who_came_and_who_went() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_deadpeer"))
        .args(["serve", "--listen", "127.0.0.1:0", "--detect", "6s", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut event = |name: &str| {
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains(&format!("\"event\":\"{name}\"")), "{line}");
        line
    };
    let line = event("listening");
    let (_, address) = line.split_once("\"address\":\"").unwrap();
    let address = address.split('"').next().unwrap();
    let connect = ["connect", address, "--detect", "6s", "--json"];
    let mut client = Command::new(env!("CARGO_BIN_EXE_deadpeer")).args(connect).spawn().unwrap();
    event("arrived");
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(event("died").contains("\"cause\":\""));
    server.kill().unwrap();
    server.wait().unwrap();
}

#[cfg(windows)]
#[test]
#[ignore = "it changes the registry: .ci/systems test runs it, in a wine prefix of its own"]
fn what_plan_writes_for_the_registry_explain_reads_back() {
    const KEY: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";
    let file = std::env::temp_dir().join(format!("deadpeer-{}.reg", std::process::id()));
    let plan = ["plan", "--detect", "40s", "--tolerate", "5s"];
    std::fs::write(&file, well(&[&plan[..], &["--emit", "windows-registry"]].concat())).unwrap();
    assert!(Command::new("regedit").arg("/S").arg(&file).status().unwrap().success());
    std::fs::remove_file(file).unwrap();
    let system = well(&["explain", "--system", "--json"]);
    for name in ["KeepAliveTime", "KeepAliveInterval"] {
        assert!(Command::new("reg").args(["delete", KEY, "/v", name, "/f"]).status().unwrap().success());
    }
    let planned = well(&[&plan[..], &["--json"]].concat());
    let number = |text: &str, before: &str| -> u64 {
        let at = text.find(before).unwrap() + before.len();
        let digits: String = text[at..].chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    assert_eq!(number(&system, "\"KeepAliveTime\":"), number(&planned, "\"keepalive_idle_ms\":"));
    assert_eq!(number(&system, "\"KeepAliveInterval\":"), number(&planned, "\"keepalive_interval_ms\":"));
    assert!(well(&["explain", "--system"]).contains("7200000 ms"));
}
