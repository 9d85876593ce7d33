//! What `--emit` prints is taken by the place that it is for, and does there what it says.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{deadpeer, installed, row, scan};
use crate::emitted;
use deadpeer_lab::{Pair, isolated};

const GOALS: [&str; 5] = ["--os", "linux", "--detect=30s", "--tolerate=8s", "--emit"];
/// User timeout, idle, interval, probes, on.
const WANTED: &str = "26632 15 1 10 1";

fn emit(place: &str) -> String {
    let output = deadpeer().arg("plan").args(GOALS).arg(place).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // What is missing is said twice: in the snippet and on stderr.
    let text = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    for line in told.lines() {
        let missing = line.strip_prefix("deadpeer: ").unwrap();
        assert!(text.contains(missing), "{missing} not in {text}");
    }
    text
}

/// Runs a command that must end well, and returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn rust_sets_it() {
    // The very text is compiled into this test.
    assert_eq!(emit("rust"), include_str!("emitted.rs"));
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        emitted::apply(&pair.client).unwrap();
        let rows = scan(&[]);
        let row = row(&rows, pair.client.local_addr().unwrap());
        let keepalive = &row["keepalive"];
        let ms = |key: &str| keepalive[key].as_u64().unwrap() / 1000;
        let seen = format!(
            "{} {} {} {} {}",
            row["user_timeout_ms"],
            ms("idle_ms"),
            ms("interval_ms"),
            keepalive["probes"],
            u8::from(keepalive["enabled"] == true)
        );
        assert_eq!(seen, WANTED);
    });
}

#[test]
fn c_sets_it() {
    let Some(gcc) = installed("gcc") else { return };
    let folder = tempfile::tempdir().unwrap();
    let main = r#"
        #include <stdio.h>
        int main(void)
        {
            int socket_ = socket(AF_INET, SOCK_STREAM, 0), values[5];
            int names[] = { 18, 4, 5, 6, SO_KEEPALIVE };
            if (apply_keepalive(socket_) != 0)
                return 1;
            for (int i = 0; i < 5; i++) {
                socklen_t size = sizeof values[i];
                getsockopt(socket_, i < 4 ? IPPROTO_TCP : SOL_SOCKET, names[i], &values[i], &size);
                printf("%d%s", values[i], i < 4 ? " " : "\n");
            }
            return 0;
        }"#;
    let source = write(folder.path(), "main.c", &(emit("c") + main));
    let program = folder.path().join("main");
    run(Command::new(gcc).args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(source));
    assert_eq!(run(&mut Command::new(program)), WANTED);
}

#[test]
fn python_sets_it() {
    let Some(python) = installed("python3") else { return };
    let main = "
s = socket.socket()
apply(s)
values = [s.getsockopt(socket.IPPROTO_TCP, name) for name in (18, 4, 5, 6)]
print(*values, s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
";
    assert_eq!(run(Command::new(&python).arg("-c").arg(emit("python") + main)), WANTED);
    if !Path::new("/proc/sys/net/ipv4/tcp_rto_max_ms").exists() {
        eprintln!("skipped: this kernel has no TCP_RTO_MAX_MS");
        return;
    }
    let accepts = ["--slow-readers", "--accept-rto-ceiling"];
    let slow = ["plan", "--os", "linux", "--detect=30s", accepts[0], accepts[1], "--emit", "python"];
    let main = "\ns = socket.socket()\napply(s)\nprint(*[s.getsockopt(6, name) for name in (44, 18)])\n";
    let snippet = run(deadpeer().args(slow));
    assert_eq!(run(Command::new(python).arg("-c").arg(snippet + main)), "1000 0");
}

#[test]
fn go_sets_it() {
    let Some(go) = installed("go") else { return };
    let folder = tempfile::tempdir().unwrap();
    let main = r#"
        package main

        import (
            "fmt"
            "net"
            "syscall"
        )

        func main() {
            listener, _ := net.Listen("tcp", "127.0.0.1:0")
            conn, err := net.Dial("tcp", listener.Addr().String())
            if err != nil {
                panic(err)
            }
            if err := Apply(conn.(*net.TCPConn)); err != nil {
                panic(err)
            }
            raw, _ := conn.(*net.TCPConn).SyscallConn()
            raw.Control(func(fd uintptr) {
                for _, name := range []int{18, 4, 5, 6} {
                    value, _ := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, name)
                    fmt.Print(value, " ")
                }
                on, _ := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
                fmt.Println(on)
            })
        }"#;
    if let Some(gofmt) = installed("gofmt") {
        let file = write(folder.path(), "snippet.go", &emit("go"));
        assert_eq!(run(Command::new(gofmt).arg("-d").arg(&file)), "", "it is as gofmt has it");
    }
    let snippet = emit("go").replace("package deadpeer", "package main");
    let files = [write(folder.path(), "apply.go", &snippet), write(folder.path(), "main.go", main)];
    let seen = run(Command::new(go)
        .arg("run")
        .args(files)
        .env("GOCACHE", folder.path().join("cache"))
        .env("GOFLAGS", "-mod=mod")
        .env("GO111MODULE", "off")
        .env("HOME", folder.path()));
    assert_eq!(seen, WANTED);
}

#[test]
fn sysctl_reads_it_back() {
    let Some(sysctl) = installed("sysctl") else { return };
    isolated!(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), "sysctl.conf", &emit("sysctl"));
        run(Command::new(&sysctl).arg("-p").arg(file));
        let seen = run(deadpeer().args(["explain", "--system", "--json"]));
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        let value = |name: &str| seen["sysctls"][format!("net.ipv4.tcp_keepalive_{name}")].as_u64().unwrap();
        assert_eq!([value("time"), value("intvl"), value("probes")], [15, 1, 10]);
    });
}

#[test]
fn postgresql_takes_it() {
    let Some(postgres) = installed("postgres") else { return };
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "postgresql.conf", &emit("postgres"));
    let options = ["user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"];
    let values = options.map(|name| {
        run(Command::new(&postgres).args(["-C", &format!("tcp_{name}"), "-D"]).arg(folder.path()))
    });
    assert_eq!(values.join(" "), "26632 15 1 10");
}

#[test]
fn redis_takes_it() {
    let (Some(redis), Some(client)) = (installed("redis-server"), installed("redis-cli")) else { return };
    isolated!(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), "redis.conf", &emit("redis"));
        let mut server = Command::new(&redis)
            .arg(file)
            .args(["--port", "6379", "--bind", "127.0.0.1", "--save", ""])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let ask = || {
            let mut client = Command::new(&client);
            client.args(["config", "get", "tcp-keepalive"]).output().unwrap()
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !ask().status.success() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let answer = String::from_utf8(ask().stdout).unwrap();
        assert_eq!(answer.split_whitespace().collect::<Vec<_>>(), ["tcp-keepalive", "14"]);
        // And it makes of it what we say that it makes.
        let mut socket = std::net::TcpStream::connect("127.0.0.1:6379").unwrap();
        socket.write_all(b"PING\r\n").unwrap();
        socket.read_exact(&mut [0; 7]).unwrap(); // +PONG: it has accepted
        let rows = scan(&["local::6379", "state:established"]);
        let peer = socket.local_addr().unwrap().to_string();
        let keepalive = &rows.iter().find(|row| row["peer"] == peer).unwrap()["keepalive"];
        assert_eq!((&keepalive["idle_ms"], &keepalive["interval_ms"]), (&14_000.into(), &4_000.into()));
        assert_eq!((&keepalive["enabled"], &keepalive["probes"]), (&true.into(), &3.into()));
        server.kill().unwrap();
        server.wait().unwrap();
    });
}

#[test]
fn nginx_takes_it() {
    let Some(nginx) = installed("nginx") else { return };
    isolated!(|| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "server.conf", &emit("nginx"));
        let config = "pid nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\ninclude server.conf;\n}\n";
        let file = write(folder.path(), "nginx.conf", config);
        run(Command::new(&nginx).args(["-t", "-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(file));
    });
}

#[test]
fn haproxy_takes_it() {
    let Some(haproxy) = installed("haproxy") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "haproxy.cfg", &emit("haproxy"));
    run(Command::new(haproxy).arg("-c").arg("-f").arg(file));
}

#[test]
fn a_place_without_a_word_for_something_says_which() {
    let emit = |target: &str| {
        let goals = ["--detect=30s", "--slow-readers", "--accept-rto-ceiling"];
        deadpeer().args(["plan", "--os", "linux", "--emit", target]).args(goals).output().unwrap()
    };
    let output = emit("nginx");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("TCP_RTO_MAX_MS can't be set here: nginx has no word for it"), "{stderr}");
    // For the whole system nobody would put it back.
    let sysctl = String::from_utf8(emit("sysctl").stdout).unwrap();
    assert!(
        sysctl.contains("TCP_RTO_MAX_MS can't be set here") && !sysctl.contains("rto_max_ms ="),
        "{sysctl}"
    );
    // In C everything has a word, and the price is said.
    let output = emit("c");
    assert!(output.stderr.is_empty());
    let c = String::from_utf8(output.stdout).unwrap();
    assert!(c.contains("{ IPPROTO_TCP, TCP_RTO_MAX_MS, 1000 /* ms */ }"), "{c}");
    assert!(c.contains("// Before you close the socket, set TCP_RTO_MAX_MS to 120000"), "{c}");
}
