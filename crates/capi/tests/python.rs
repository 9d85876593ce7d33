//! The wheel is built, unpacked, and tested by CPython: the unit tests in python/tests, and a server that falls
//! silent.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

mod common;

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use common::running::{GOALS, Running, checked};
use common::{CAPI, built, missing, root};
use deadpeer_lab::{Direction, Network, Place, isolated};
use tempfile::TempDir;

/// A CPython that can build wheels: the one in the path, or Debian's.
fn python() -> Option<&'static str> {
    let able = |python: &&str| {
        let imports = ["-c", "import setuptools, wheel, ctypes, sys; assert sys.version_info >= (3, 9)"];
        let mut command = Command::new(python);
        command.args(imports).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(able);
    if found.is_none() {
        let why = "no Python 3.9 or later with setuptools and wheel (python3-setuptools, python3-wheel)";
        missing("python3", io::Error::new(io::ErrorKind::NotFound, why));
    }
    found
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A wheel, built of a copy of python/ and unpacked: nothing of the repository is in it but what it carries.
struct Wheel {
    _directory: TempDir,
    unpacked: PathBuf,
}

impl Wheel {
    fn build(python: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("python");
        succeed(Command::new("cp").arg("-r").arg(root().join("python")).arg(&source));
        let build = "import setuptools.build_meta as build; build.build_wheel('..')";
        succeed(
            Command::new(python)
                .args(["-c", build])
                .env("DEADPEER_LIBRARY", &built().shared)
                .current_dir(&source),
        );
        let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
        let mut files = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let wheel = files.find(is_wheel).unwrap();
        let name = wheel.file_name().unwrap().to_str().unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert!(name.starts_with(&format!("deadpeer-{version}-py3-none-linux_")), "{name}");
        let unpacked = directory.path().join("unpacked");
        succeed(Command::new(python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked));
        for file in ["__init__.py", "py.typed", "libdeadpeer.so"] {
            assert!(unpacked.join("deadpeer").join(file).exists(), "{file} is in the wheel");
        }
        Self { _directory: directory, unpacked }
    }

    /// A Python that has only this wheel, and the library that it carries.
    fn command(&self, python: &str) -> Command {
        let mut command = Command::new(python);
        command.env("PYTHONPATH", &self.unpacked).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env_remove("DEADPEER_LIBRARY");
        command
    }
}

#[test]
fn the_unit_tests_pass_with_the_wheel() {
    isolated!(|| {
        let Some(python) = python() else { return };
        let wheel = Wheel::build(python);
        let output = wheel
            .command(python)
            .args(["-m", "unittest", "discover", "--verbose", "--start-directory"])
            .arg(root().join("python/tests"))
            .env("DEADPEER_HEADER", Path::new(CAPI).join("include/deadpeer.h"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("\nOK\n"), "{said}");
    });
}

fn a_server_falls_silent(how: &str) {
    let Some(python) = python() else { return };
    let network = Network::new().unwrap();
    let right = Network::RIGHT_V4[0];
    let server = network.right(|| TcpListener::bind((right, 0))).unwrap();
    let wheel = Wheel::build(python);
    let mut client = wheel.command(python);
    client.arg(root().join("python/tests/silence.py")).args([how, &right.to_string()]);
    client.arg(server.local_addr().unwrap().port().to_string()).args(GOALS);
    let mut client = Running::on(&network, Place::Left, &mut client);
    let (mut stream, _) = server.accept().unwrap();
    assert_eq!(client.line(), "connected");
    stream.write_all(b"hello\n").unwrap();
    assert_eq!(client.line(), "hello");
    let (cut, _silent) = (Instant::now(), network.cut(Direction::Both).unwrap());
    let why = checked(&client.line(), how, cut);
    assert!(why.starts_with("the peer fell silent while the connection was idle"), "{why}");
    assert!(client.program.wait().unwrap().success());
}

#[test]
fn a_blocking_socket_notices_silence() {
    isolated!(|| a_server_falls_silent("blocking"));
}

#[test]
fn an_asyncio_transport_notices_silence() {
    isolated!(|| a_server_falls_silent("asyncio"));
}
