//! The examples run to their end. `cargo test` builds them beside its own executables.
#![cfg(target_os = "linux")] // the lab's faults
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::path::PathBuf;
use std::process::Command;

fn path(example: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let path = this.parent().unwrap().parent().unwrap().join("examples").join(example);
    assert!(path.exists(), "{} is built by `cargo test`, not by `cargo test --test`", path.display());
    path
}

fn output(example: &str) -> String {
    let output = Command::new(path(example)).output().unwrap();
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn guarded_echo() {
    assert!(output("guarded_echo").starts_with("hello\nis anybody there?\n"));
}

#[test]
fn guarded_echo_tokio() {
    assert!(output("guarded_echo_tokio").contains("client: the peer closed the connection"));
}

#[test]
fn chat_server_is_not_held_up_by_a_mute_client() {
    let output = output("chat_server");
    assert!(output.ends_with("barbara is in\neverybody heard ada\n"), "{output}");
}

#[test]
fn reconnecting_client() {
    let told = output("reconnecting_client");
    for part in ["question 0", "question 1", "the server said goodbye: restarting", "trying again in"] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn redis_heartbeat_notices_a_frozen_server_and_no_living_one() {
    use deadpeer_lab::{Program, freeze, isolated};
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    let server = std::path::Path::new("/usr/bin/redis-server");
    if !server.exists() {
        assert!(std::env::var_os("DEADPEER_LAB_REQUIRED").is_none(), "redis-server is not installed");
        return eprintln!("skipped: redis-server is not installed");
    }
    isolated!(|| {
        let mut command = Command::new("/usr/bin/redis-server");
        command.args(["--port", "6379", "--save", ""]).current_dir("/tmp").stdout(Stdio::null());
        let mut redis = Program::from(command.spawn().unwrap());
        while std::net::TcpStream::connect("127.0.0.1:6379").is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let example = path("redis_heartbeat");
        // It lives for longer than a death takes …
        let living = Command::new(&example).args(["127.0.0.1:6379", "4"]).output().unwrap();
        assert!(living.status.success(), "{}", String::from_utf8_lossy(&living.stderr));
        assert!(String::from_utf8_lossy(&living.stdout).contains("subscribe"));
        // … and is noticed in time when it hangs.
        let child = Command::new(&example).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let frozen = freeze(&mut redis).unwrap();
        let since = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        assert!(since.elapsed() >= Duration::from_millis(1_900), "{:?}", since.elapsed());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("redis is silent for 3"), "{told}");
        drop(frozen);
    });
}

#[test]
fn line_protocol_notices_a_program_that_hangs() {
    let told = output("line_protocol");
    assert!(told.contains("client: you asked one\nclient: you asked two\n"), "{told}");
    assert!(told.contains("client: the other side is silent for 1."), "{told}");
}
