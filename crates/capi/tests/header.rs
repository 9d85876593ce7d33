//! include/deadpeer.h says what the code says, and the library shows what the header says.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use cbindgen::{Builder, Config};
use common::{CAPI, built, root, tool};

/// In the order that a reader wants them.
const SOURCES: [&str; 10] = [
    "version",
    "socket",
    "error",
    "plain",
    "policy",
    "apply",
    "loss",
    "diagnose",
    "heartbeat/event",
    "heartbeat/mod",
];

fn header() -> String {
    let crate_dir = Path::new(CAPI);
    let config = Config::from_file(crate_dir.join("cbindgen.toml")).unwrap();
    let builder = SOURCES.iter().fold(Builder::new().with_config(config), |builder, source| {
        builder.with_src(crate_dir.join(format!("src/{source}.rs")))
    });
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    // Rust's heading for what the caller must see to.
    String::from_utf8(header).unwrap().replace("// # Safety\n// ", "// Safety: ")
}

#[test]
fn the_committed_header_is_the_codes() {
    let path = Path::new(CAPI).join("include/deadpeer.h");
    let made = header();
    if env::var_os("DEADPEER_WRITE_HEADER").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        made,
        "write it anew: DEADPEER_WRITE_HEADER=1 cargo test -p deadpeer-capi --test header"
    );
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = header();
    let code = header.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let code = code.split_once("extern \"C\" {").unwrap().1;
    let name = |before: &str| {
        let name = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap();
        name.starts_with("deadpeer_").then(|| name.to_owned())
    };
    let names: Vec<String> = code.split('(').filter_map(name).collect();
    let different: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(names.len(), different.len(), "declared twice: {names:?}");
    different
}

#[test]
fn the_shared_library_shows_the_headers_functions_and_nothing_else() {
    let Some(mut nm) = tool("nm") else { return };
    let output = nm.args(["-D", "--defined-only", "--format=posix"]).arg(&built().shared).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let listing = String::from_utf8(output.stdout).unwrap();
    let shown: BTreeSet<String> =
        listing.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(shown, declared());
    assert!((15..=24).contains(&shown.len()), "about twenty: {shown:?}");
}

#[test]
fn the_shared_library_has_a_name_for_the_dynamic_linker() {
    let Some(mut readelf) = tool("readelf") else { return };
    let output = readelf.arg("-d").arg(&built().shared).output().unwrap();
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(listing.contains("soname: [libdeadpeer.so.0.1]"), "{listing}");
}

/// Without warnings, by strict compilers, in C and in C++.
#[test]
fn the_header_compiles_as_c_and_as_cpp() {
    let include = Path::new(CAPI).join("include/deadpeer.h");
    for (compiler, language, standard) in
        [("cc", "c", "c99"), ("cc", "c", "c17"), ("c++", "c++", "c++11"), ("c++", "c++", "c++20")]
    {
        let Some(mut command) = tool(compiler) else { continue };
        let standard = format!("-std={standard}");
        command.args(["-x", language, &standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
        let output = command.arg("-fsyntax-only").arg(&include).output().unwrap();
        assert!(
            output.status.success(),
            "{language} {standard}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// What a packager does: `install.sh` into a directory, then pkg-config.
#[test]
fn an_installed_library_is_found_by_pkg_config() {
    let Some(mut pkg_config) = tool("pkg-config") else { return };
    let prefix = tempfile::tempdir().unwrap();
    let library = built();
    let status = Command::new("sh")
        .arg(Path::new(CAPI).join("install.sh"))
        .args(["--prefix".as_ref(), prefix.path(), "--built".as_ref(), library.shared.parent().unwrap()])
        .current_dir(root())
        .status()
        .unwrap();
    assert!(status.success());
    let flags = pkg_config
        .env("PKG_CONFIG_PATH", prefix.path().join("lib/pkgconfig"))
        .args(["--cflags", "--libs", "--print-errors", "deadpeer"])
        .output()
        .unwrap();
    assert!(flags.status.success(), "{}", String::from_utf8_lossy(&flags.stderr));
    let Some(mut cc) = tool("cc") else { return };
    let program = prefix.path().join("version");
    let source = prefix.path().join("version.c");
    fs::write(
        &source,
        "#include <deadpeer.h>\n#include <stdio.h>\nint main(void) { puts(deadpeer_version()); }",
    )
    .unwrap();
    let flags = String::from_utf8(flags.stdout).unwrap();
    let compiled = cc.arg(&source).arg("-o").arg(&program).args(flags.split_whitespace()).status().unwrap();
    assert!(compiled.success(), "{flags}");
    let run = Command::new(&program).env("LD_LIBRARY_PATH", prefix.path().join("lib")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&run.stdout).trim_end(), env!("CARGO_PKG_VERSION"));
}
