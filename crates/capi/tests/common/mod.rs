//! What the tests share: the built library, and the tools that compile programs for it.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

pub(crate) mod running;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use deadpeer_lab::{Unavailable, skip};

pub(crate) const CAPI: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) fn root() -> &'static Path {
    Path::new(CAPI).parent().and_then(Path::parent).unwrap()
}

pub(crate) struct Built {
    pub(crate) shared: PathBuf,
    pub(crate) archive: PathBuf,
}

/// The library as `cargo build` makes it: `cargo test` builds none for its own programs.
pub(crate) fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        // The tests stand in target/PROFILE/deps.
        let profile = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().to_owned();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "deadpeer-capi"]).current_dir(root());
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the library does not build");
        Built { shared: profile.join("libdeadpeer.so"), archive: profile.join("libdeadpeer.a") }
    })
}

/// A tool, or a visible skip where it is missing.
pub(crate) fn tool(name: &'static str) -> Option<Command> {
    let asked = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match asked {
        Ok(status) if status.success() => Some(Command::new(name)),
        Ok(status) => {
            missing(name, io::Error::other(format!("{name} --version: {status}")));
            None
        }
        Err(error) => {
            missing(name, error);
            None
        }
    }
}

/// The test that this thread runs is skipped: it says so, or fails where that is not allowed.
pub(crate) fn missing(what: &str, why: io::Error) {
    let thread = std::thread::current();
    let why = io::Error::new(why.kind(), format!("{what}: {why}"));
    skip(thread.name().unwrap_or("a test"), &Unavailable { needs: "this test needs tools", why });
}

/// Compiles crates/capi/examples/`source` against the shared library, as docs/c.md says, without warnings.
/// `None`: a compiler or a library is missing, and that was said.
pub(crate) fn example(source: &str, libraries: &[&str]) -> Option<PathBuf> {
    let cpp = source.ends_with(".cpp");
    let mut compiler = tool(if cpp { "c++" } else { "cc" })?;
    let library = built();
    let directory = library.shared.parent().unwrap();
    let program = directory.join("examples").join(source.replace('.', "-"));
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    compiler
        .arg(if cpp { "-std=c++17" } else { "-std=c11" })
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-g", "-I"])
        .arg(Path::new(CAPI).join("include"))
        .arg(Path::new(CAPI).join("examples").join(source))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(directory)
        .arg("-ldeadpeer")
        .args(libraries)
        .arg(format!("-Wl,-rpath,{}", directory.display()));
    // The name that the dynamic linker looks for.
    let soname = directory.join("libdeadpeer.so.0.1");
    let _ = std::os::unix::fs::symlink("libdeadpeer.so", &soname);
    let output = compiler.output().unwrap();
    assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}
