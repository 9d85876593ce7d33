//! The examples run to their end. `cargo test` builds them beside its own executables.
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::process::Command;

fn output(example: &str) -> String {
    let this = std::env::current_exe().unwrap();
    let path = this.parent().unwrap().parent().unwrap().join("examples").join(example);
    let output = Command::new(&path).output().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
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
