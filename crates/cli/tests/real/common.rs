//! Running the real binary and reading its rows.

use std::net::SocketAddr;
use std::process::{Command, Output};

use serde_json::Value;

/// The binary under test.
pub(crate) fn deadpeer() -> Command {
    Command::new(env!("CARGO_BIN_EXE_deadpeer"))
}

/// Runs `deadpeer scan --json` with `args` and returns its rows.
pub(crate) fn scan(args: &[&str]) -> Vec<Value> {
    let output = deadpeer().args(["scan", "--json"]).args(args).output().unwrap();
    rows(&output)
}

/// The rows of an output that must have ended well.
pub(crate) fn rows(output: &Output) -> Vec<Value> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The row of the socket whose own end is `local`.
pub(crate) fn row(rows: &[Value], local: SocketAddr) -> &Value {
    rows.iter()
        .find(|row| row["local"] == local.to_string())
        .unwrap_or_else(|| panic!("no row for {local} in {rows:#?}"))
}

/// Its verdict and cause, as "dead questions-unanswered".
pub(crate) fn verdict(row: &Value) -> String {
    format!("{} {}", row["verdict"].as_str().unwrap(), row["cause"].as_str().unwrap())
}

/// The program's path; says so where it is not installed.
pub(crate) fn installed(program: &str) -> Option<String> {
    let postgres = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/sbin"]
        .map(Into::into)
        .into_iter()
        .chain(postgres.map(|version| version.path().join("bin")))
        .map(|folder: std::path::PathBuf| folder.join(program))
        .find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("DEADPEER_LAB_REQUIRED").is_none(), "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    found.map(|path| path.to_str().unwrap().to_owned())
}
