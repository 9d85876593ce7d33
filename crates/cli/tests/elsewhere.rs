//! The command on systems other than Linux: what works there, and what says that it does not.
#![cfg(not(target_os = "linux"))]
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

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
    for command in [&["scan"][..], &["ping", "port:1"], &["demo"], &["explain", "port:1"]] {
        let (code, output, error) = deadpeer(command);
        assert_eq!((code, output.as_str()), (Some(2), ""), "{command:?}");
        assert!(error.contains(&format!("`{}", command[0])) && error.contains("only on Linux"), "{error}");
    }
    let (code, _, error) = deadpeer(&["lab", "prove", "--on", "127.0.0.1:1", "--", "none"]);
    assert!(code == Some(2) && error.contains("`lab prove` works only on Linux"), "{error}");
}

/// Patience for what must come; tests that pass don't wait for it.
const SOON: Duration = Duration::from_secs(60);

/// A command that tells events, one JSON object a line.
struct Told {
    child: Child,
    lines: Receiver<String>,
}

impl Told {
    fn by(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deadpeer"));
        let mut child = command.args(arguments).arg("--json").stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines }
    }

    /// The next event, which must be of this name.
    fn event(&self, name: &str) -> Value {
        let line: Value = serde_json::from_str(&self.lines.recv_timeout(SOON).expect(name)).unwrap();
        assert_eq!(line["event"], name, "{line}");
        line
    }

    fn listens_at(&self) -> String {
        self.event("listening")["address"].as_str().unwrap().to_owned()
    }

    /// Ends it as the system does: at once.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SERVE: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--detect", "6s"];

#[test]
fn serve_and_connect_tell_who_came_and_who_went() {
    let server = Told::by(&SERVE);
    let address = server.listens_at();
    let connect = ["connect", &address, "--detect", "6s", "--id", "one"];
    let mut client = Told::by(&connect);
    assert_eq!(server.event("arrived")["id"], "one");
    client.event("arrived");
    // A client that is killed: its system closes for it.
    client.kill();
    let died = server.event("died");
    assert!(died["id"] == "one" && died["cause"].is_string(), "{died}");
    // And a server.
    let client = Told::by(&connect);
    server.event("arrived");
    client.event("arrived");
    drop(server);
    let died = client.event("died");
    assert!(died["cause"].is_string(), "{died}");
    client.event("waiting");
}

#[test]
fn a_server_tells_over_http_who_is_here() {
    let server = Told::by(&[&SERVE[..], &["--status", "127.0.0.1:0"]].concat());
    let listening = server.event("listening");
    let (_, status) = listening["text"].as_str().unwrap().split_once("status at http://").unwrap();
    let address = listening["address"].as_str().unwrap();
    let client = Told::by(&["connect", address, "--detect", "6s", "--id", "one"]);
    client.event("arrived");
    server.event("arrived");
    let mut asking = TcpStream::connect(status).unwrap();
    asking.set_read_timeout(Some(SOON)).unwrap();
    asking.write_all(b"GET /sessions HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains("\"one\""), "{answer}");
}

#[test]
fn a_connection_is_carried_through_connect_and_serve() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = target.local_addr().unwrap().to_string();
    let server = Told::by(&[&SERVE[..], &["--forward", &place]].concat());
    let gateway = Told::by(&["connect", &server.listens_at(), "--listen", "127.0.0.1:0", "--detect", "6s"]);
    let mut program = TcpStream::connect(gateway.listens_at()).unwrap();
    let (mut accepted, _) = target.accept().unwrap();
    for stream in [&program, &accepted] {
        stream.set_read_timeout(Some(SOON)).unwrap();
    }
    server.event("arrived");
    gateway.event("arrived");
    // More than a buffer on the way holds, and the answer after our end of it.
    let said: Vec<u8> = (0..3_000_000u32).map(|at| at as u8).collect();
    let answering = thread::spawn(move || {
        let mut heard = Vec::new();
        accepted.read_to_end(&mut heard).unwrap();
        accepted.write_all(&heard).unwrap();
    });
    program.write_all(&said).unwrap();
    program.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    program.read_to_end(&mut heard).unwrap();
    assert!(heard == said, "{} bytes came back", heard.len());
    answering.join().unwrap();
    for side in [&server, &gateway] {
        side.event("left");
    }
}

/// The cells of the lab; the exit code says whether all are as expected. The lab measures times, so it runs once and
/// not beside itself.
fn lab() -> &'static [Value] {
    static CELLS: OnceLock<Vec<Value>> = OnceLock::new();
    CELLS.get_or_init(|| {
        let (code, output, error) = deadpeer(&["lab", "--json"]);
        assert_eq!(code, Some(0), "{error}{output}");
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    })
}

fn cell<'c>(cells: &'c [Value], fault: &str, method: &str) -> &'c Value {
    cells.iter().find(|cell| cell["fault"] == fault && cell["method"] == method).unwrap()
}

#[test]
fn the_lab_measures_what_loopback_can_suffer() {
    let cells = lab();
    assert_eq!(cells.len(), 19 * 8);
    let mark = |fault: &str, method: &str| cell(cells, fault, method)["mark"].clone();
    for method in ["read", "poll", "keepalive", "heartbeat"] {
        for fault in ["closed", "killed", "aborted"] {
            assert_eq!(mark(fault, method), "noticed", "{fault} by {method}");
        }
        assert_eq!(mark("shut-window", method), "lives", "{method}");
    }
    for method in ["poll", "heartbeat"] {
        assert_eq!(mark("closed-unread", method), "noticed", "{method}");
    }
    for method in ["read", "poll", "keepalive"] {
        assert_eq!(mark("frozen", method), "never", "its kernel answers: {method}");
    }
    let frozen = cell(cells, "frozen", "heartbeat");
    assert!((1_950..=4_500).contains(&frozen["median_ms"].as_u64().unwrap()), "{frozen}");
    // What can't be had here says why.
    for (fault, method, mark) in [
        ("silent", "keepalive", "left-out"),
        ("closed", "scan-probe", "not-applicable"),
        ("closed-unread", "keepalive", "not-applicable"),
    ] {
        let cell = cell(cells, fault, method);
        assert!(cell["mark"] == mark && cell["runs"][0]["left_out"].is_string(), "{cell}");
    }
}

#[cfg(windows)]
mod not_on_wine_8 {
    use super::*;

    /// Wine 8 turns a reset into an end of file.
    #[test]
    fn the_lab_sees_resets() {
        assert_eq!(cell(lab(), "aborted", "read")["how"], "WSAECONNRESET");
    }
}

#[cfg(windows)]
mod not_on_wine {
    use super::*;

    /// Wine has no SIO_TCP_INFO and no TCP_MAXRT.
    #[test]
    fn the_lab_uses_sio_tcp_info_and_tcp_maxrt() {
        let cells = lab();
        for method in ["tcp-info", "user-timeout"] {
            assert_eq!(cell(cells, "closed", method)["mark"], "noticed", "{method}");
        }
    }
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
