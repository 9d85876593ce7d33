//! Who holds a socket, where it lives and what is set on it, where that is hard to see.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{deadpeer, installed, row, rows, scan, verdict};
use deadpeer_lab::{Network, Pair, Place, Unavailable, isolated, skip};
use serde_json::Value;

/// The lock between runs.
const LOCK: &str = "/proc/sys/net/ipv4/tcp_fastopen_key";

/// A process that dies with this value.
struct Resident(Child);

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Python program that prints a port once it is ready. Python reaches any system call and ends no thread of its
/// own accord.
fn python(mut before: Command, program: &str, args: &[&str]) -> Option<(Resident, u16)> {
    before.arg(installed("python3")?).args(["-c", &format!("{PRELUDE}\n{program}")]).args(args);
    let mut child = Resident(before.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().parse().unwrap_or_else(|_| panic!("{line:?}"));
    Some((child, port))
}

const PRELUDE: &str = "
import array, ctypes, os, socket, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def pair():
    listener = socket.create_server(('127.0.0.1', 0))
    client = socket.create_connection(listener.getsockname())
    return listener, client, listener.accept()[0]
def ready(client):
    print(client.getsockname()[1], flush=True)
";

fn plain() -> Command {
    Command::new("env")
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A thread leaves the table of its process behind; then nothing of it is in /proc/PID/fd.
const APART: &str = "
def hold():
    check(libc.unshare(0x400))  # CLONE_FILES
    sockets = pair()
    ready(sockets[1])
    threading.Event().wait()
threading.Thread(target=hold).start()
threading.Event().wait()
";

/// The first thread exits, the others go on; then /proc/PID/fd is empty.
const LEADERLESS: &str = "
def hold():
    sockets = pair()
    while open('/proc/self/stat').read().rsplit(')')[1].split()[0] != 'Z':
        os.sched_yield()
    ready(sockets[1])
    threading.Event().wait()
threading.Thread(target=hold).start()
libc.syscall({'x86_64': 60, 'aarch64': 93}[os.uname().machine], 0)  # exit(2): of this thread alone
";

#[test]
fn threads_with_descriptors_of_their_own_and_processes_without_their_first_thread_own_their_sockets() {
    isolated!(|| {
        for program in [APART, LEADERLESS] {
            let Some((child, port)) = python(plain(), program, &[]) else { return };
            let rows = scan(&[]);
            let row = row(&rows, local(port));
            assert_eq!(row["pid"], child.0.id(), "{row}");
            assert_eq!(row["owners"], 1);
            // The very socket was read, by way of the thread.
            assert_eq!(row["user_timeout_ms"], 0, "{row}");
            assert_eq!(row["keepalive"]["enabled"], false);
        }
    });
}

#[test]
fn their_peers_are_asked() {
    isolated!(|| {
        for program in [APART, LEADERLESS] {
            let Some((_child, port)) = python(plain(), program, &[]) else { return };
            let rows = scan(&["--probe"]);
            assert_eq!(verdict(row(&rows, local(port))), "alive answered");
        }
    });
}

/// One end is sent through a unix socket and closed, so that nobody has it.
const IN_FLIGHT: &str = "
listener, client, server = pair()
out, into = socket.socketpair()
message = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [client.fileno()]))]
out.sendmsg([b'x'], message)
print(client.getsockname()[1], flush=True)
client.close()
sys.stdin.readline()
_, ancillary, _, _ = into.recvmsg(1, 100)
received = socket.socket(fileno=array.array('i', ancillary[0][2])[0])
sys.stdin.readline()
";

#[test]
fn a_socket_in_flight_says_so_and_is_owned_again_on_arrival() {
    isolated!(|| {
        let Some((mut child, port)) = python(plain(), IN_FLIGHT, &[]) else { return };
        let told = until(|| {
            let rows = scan(&["--probe"]);
            let row = row(&rows, local(port)).clone();
            row["pid"].is_null().then_some(row)
        });
        let why = told["unknown"]["pid"].as_str().unwrap();
        assert!(why.contains("in flight (SCM_RIGHTS)"), "{told}");
        assert!(told["unknown"]["probe_ms"].as_str().unwrap().contains("in flight"), "{told}");
        let mut stdin: ChildStdin = child.0.stdin.take().unwrap();
        stdin.write_all(b"\n").unwrap();
        let row = until(|| {
            let rows = scan(&[]);
            let row = row(&rows, local(port)).clone();
            (!row["pid"].is_null()).then_some(row)
        });
        assert_eq!(row["pid"], child.0.id());
    });
}

/// Waits for what a process does after it said that it was ready.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come");
    }
}

/// The binary where every user can run it.
struct ForAll {
    folder: tempfile::TempDir,
}

impl ForAll {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open.clone()).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_deadpeer"), folder.path().join("deadpeer")).unwrap();
        std::fs::set_permissions(folder.path().join("deadpeer"), open).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("deadpeer")
    }
}

const NOBODY: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

fn as_nobody() -> Command {
    let mut command = Command::new(NOBODY[0]);
    command.args(&NOBODY[1..]);
    command
}

/// Whether this test may become another user and mount; else it is skipped.
fn is_root(test: &str) -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc"]).args(NOBODY).arg("true");
    let able = command.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !able {
        let why = std::io::ErrorKind::PermissionDenied.into();
        skip(test, &Unavailable { needs: "root and other users", why });
    }
    able
}

#[test]
fn an_unprivileged_user_learns_that_its_own_socket_is_in_flight() {
    isolated!(|| {
        if !is_root("an_unprivileged_user_learns_that_its_own_socket_is_in_flight") {
            return;
        }
        let binary = ForAll::new();
        let Some((_child, port)) = python(as_nobody(), IN_FLIGHT, &[]) else { return };
        let roots = Pair::loopback().unwrap();
        let reason = |local: SocketAddr| {
            let output = as_nobody().arg(binary.path()).args(["scan", "--json"]).output().unwrap();
            row(&rows(&output), local)["unknown"]["pid"].as_str().map(str::to_owned)
        };
        let own = until(|| reason(local(port)));
        assert!(own.starts_with("no process that is open to us holds it: it is in flight"), "{own}");
        let others = reason(roots.client.local_addr().unwrap()).unwrap();
        assert!(others.contains("permission"), "{others}");
    });
}

#[test]
fn a_proc_that_hides_processes_is_named_as_the_reason() {
    isolated!(|| {
        if !is_root("a_proc_that_hides_processes_is_named_as_the_reason") {
            return;
        }
        let pair = Pair::loopback().unwrap();
        let binary = ForAll::new();
        let hidden = |user: &[&str], options: &str| {
            let script = format!("mount -t proc -o {options} proc /proc && exec \"$@\"");
            let mut command = Command::new("unshare");
            command.args(["--mount", "--pid", "--fork", "sh", "-c", &script, "sh"]).args(user);
            let output = command.arg(binary.path()).args(["scan", "--json"]).output().unwrap();
            let rows = rows(&output);
            row(&rows, pair.client.local_addr().unwrap())["unknown"]["pid"].as_str().unwrap().to_owned()
        };
        let told = hidden(&NOBODY, "hidepid=2");
        assert!(told.contains("hidepid"), "{told}");
        // Root is exempt; but its PID namespace is not all there is.
        let told = hidden(&["env"], "hidepid=2");
        assert!(told.contains("PID namespace"), "{told}");
        let told = hidden(&NOBODY, "hidepid=2,gid=65534");
        assert!(!told.contains("hidepid"), "{told}");
    });
}

#[test]
fn a_namespace_that_only_a_descriptor_keeps_is_entered_and_asked() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let pair = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
        let local = pair.client.local_addr().unwrap();
        let rows = scan(&["--all-netns", "--probe", &format!("local::{}", local.port())]);
        let found = row(&rows, local);
        assert_eq!(verdict(found), "alive answered");
        assert_eq!(found["pid"], std::process::id());
    });
}

/// Makes a namespace with a connection, mounts it, leaves it, and runs a program: only the mount keeps it.
const MOUNTED: &str = "
check(libc.mount(b'tmpfs', b'/run', b'tmpfs', 0, None))
os.mkdir('/run/netns')
for name in 'lonely', 'junk':
    open('/run/netns/' + name, 'w').close()
os.mkfifo('/run/netns/fifo')
before = open('/proc/self/ns/net')
check(libc.unshare(0x40000000))  # CLONE_NEWNET
subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
sockets = pair()
check(libc.mount(b'/proc/self/ns/net', b'/run/netns/lonely', None, 0x1000, None))  # MS_BIND
check(libc.setns(before.fileno(), 0x40000000))
before.close()
port = sockets[1].getsockname()[1]
scan = [sys.argv[1], 'scan', '--json', '--probe', '--all-netns', f'local::{port}']
sys.exit(subprocess.run(scan).returncode)
";

#[test]
fn a_namespace_that_only_a_mount_keeps_is_entered_and_what_is_none_is_told() {
    isolated!(|| {
        if !is_root("a_namespace_that_only_a_mount_keeps_is_entered_and_what_is_none_is_told") {
            return;
        }
        let Some(python) = installed("python3") else { return };
        let mut command = Command::new("unshare");
        command.args(["--mount", &python, "-c", &format!("{PRELUDE}\n{MOUNTED}")]);
        let output = command.arg(env!("CARGO_BIN_EXE_deadpeer")).output().unwrap();
        let told = text(&output.stderr);
        let rows = rows(&output);
        // Other tests' connections may have the same port.
        let lonely: Vec<_> = rows.iter().filter(|row| row["netns_name"] == "lonely").collect();
        assert_eq!(lonely.len(), 1, "{told}");
        assert_eq!(verdict(lonely[0]), "alive answered");
        assert!(told.contains("/run/netns/junk leads to no network namespace here"), "{told}");
        assert!(!told.contains("lonely") && !told.contains("fifo"), "{told}");
    });
}

#[test]
fn all_namespaces_without_the_right_to_look_into_processes_says_what_is_missing() {
    isolated!(|| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--", env!("CARGO_BIN_EXE_deadpeer")]);
        let output = command.args(["scan", "--json", "--all-netns"]).output().unwrap();
        rows(&output);
        let told = text(&output.stderr);
        assert!(told.contains("could not be looked into") && told.contains("CAP_SYS_PTRACE"), "{told}");
    });
}

#[test]
fn a_multipath_socket_gets_keepalive_and_the_rest_is_a_gap() {
    use socket2::{Domain, Protocol, Socket, Type};
    isolated!(|| {
        let Ok(socket) = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) else {
            let why = std::io::ErrorKind::Unsupported.into();
            let name = "a_multipath_socket_gets_keepalive_and_the_rest_is_a_gap";
            return skip(name, &Unavailable { needs: "MPTCP", why });
        };
        let policy = deadpeer::Policy::detect(Duration::from_secs(30)).build().unwrap();
        let applied = deadpeer::apply(&socket, &policy).unwrap();
        assert!(socket.keepalive().unwrap());
        let gaps: Vec<_> = applied.gaps.iter().map(|gap| gap.option).collect();
        assert_eq!(gaps, ["TCP_USER_TIMEOUT"]);
    });
}

fn system(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_keepalive_time_beyond_what_a_socket_may_set_is_told_and_reckoned_with() {
    const DAY_MS: f64 = 86_400_000.0;
    isolated!(|| {
        std::fs::write("/proc/sys/net/ipv4/tcp_keepalive_time", "86400").unwrap();
        let told = system(deadpeer().args(["explain", "--system", "--json"]));
        assert_eq!(told["sysctls"]["net.ipv4.tcp_keepalive_time"], 86_400);
        let idle = &told["keepalive_on"]["detection"]["idle"];
        assert!(idle["least_ms"].as_f64().unwrap() > DAY_MS, "{idle}");
        let pair = Pair::loopback().unwrap();
        socket2::SockRef::from(&pair.client).set_keepalive(true).unwrap();
        let rows = scan(&[]);
        let row = row(&rows, pair.client.local_addr().unwrap());
        assert_eq!(row["keepalive"]["idle_ms"].as_f64(), Some(DAY_MS), "{row}");
        // Zero is nothing that a formula covers.
        std::fs::write("/proc/sys/net/ipv4/tcp_keepalive_time", "0").unwrap();
        let told = system(deadpeer().args(["explain", "--system", "--json"]));
        assert_eq!(told["sysctls"]["net.ipv4.tcp_keepalive_time"], 0);
        assert_eq!(told["keepalive_on"]["detection"]["idle"]["kind"], "unknown");
        assert_eq!(told["keepalive_on"]["concerns"][0]["kind"], "unread");
    });
}

#[test]
fn a_default_that_can_not_be_read_is_unknown_and_one_that_the_kernel_lacks_is_not_there() {
    isolated!(|| {
        let name = "a_default_that_can_not_be_read_is_unknown_and_one_that_the_kernel_lacks_is_not_there";
        if !is_root(name) {
            return;
        }
        let with = |files: &str, args: &[&str]| {
            let script =
                format!("mount -t tmpfs none /proc/sys/net/ipv4 && cd /proc/sys/net/ipv4 && {files}");
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &format!("{script} && exec \"$@\""), "sh"]);
            let output = command.arg(env!("CARGO_BIN_EXE_deadpeer")).args(args).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout).to_owned()
        };
        let told = with("true", &["explain", "--system"]);
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!told.contains("7200 s") && !told.contains("15:"), "{told}");
        assert!(told.contains("unknown (the system's default can't be read)"), "{told}");
        assert!(told.contains("unknown: the system's default can't be read"), "the detection times\n{told}");
        let old = "echo 7200 > tcp_keepalive_time; echo x > tcp_keepalive_intvl; echo 300 > tcp_keepalive_probes; \
                   echo 15 > tcp_retries2; echo 6 > tcp_syn_retries";
        let told: Value = serde_json::from_str(&with(old, &["explain", "--system", "--json"])).unwrap();
        let (sysctls, unknown) = (&told["sysctls"], &told["unknown"]);
        assert_eq!(sysctls["net.ipv4.tcp_keepalive_time"], 7200);
        for (name, why) in [
            ("net.ipv4.tcp_keepalive_intvl", "out of the range"),
            ("net.ipv4.tcp_keepalive_probes", "out of the range"),
            ("net.ipv4.tcp_syn_linear_timeouts", "not available on this kernel"),
        ] {
            assert!(sysctls[name].is_null(), "{told}");
            assert!(unknown[name].as_str().unwrap().contains(why), "{told}");
        }
        let states = &told["nothing_set"]["detection"];
        assert_eq!(states["connecting"]["kind"], "within", "without equal pauses");
        assert_eq!(told["keepalive_on"]["detection"]["idle"]["kind"], "unknown");
    });
}

/// Asks all peers, and says how long that took.
fn asked(command: &mut Command) -> (Output, Duration) {
    let started = Instant::now();
    let output = command.output().unwrap();
    (output, started.elapsed())
}

#[test]
fn the_name_that_others_could_take_locks_nothing_any_more() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let name = UnixAddr::from_abstract_name("deadpeer-ask").unwrap();
        let _squatter = UnixDatagram::bind_addr(&name).unwrap();
        let (output, took) = asked(deadpeer().args(["scan", "--json", "--probe"]));
        let rows = rows(&output);
        assert_eq!(verdict(row(&rows, pair.client.local_addr().unwrap())), "alive answered");
        assert!(took < Duration::from_secs(8), "{took:?}");
    });
}

#[test]
fn without_the_right_to_ask_nobody_can_hold_the_lock() {
    isolated!(|| {
        if !is_root("without_the_right_to_ask_nobody_can_hold_the_lock") {
            return;
        }
        let output = as_nobody().args(["flock", "--nonblock", LOCK, "true"]).output().unwrap();
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains("Permission denied"), "{}", text(&output.stderr));
    });
}

#[test]
fn a_lock_that_is_never_let_go_costs_one_namespace_its_questions_and_ten_seconds() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let there = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
        let here = Pair::loopback().unwrap();
        let mut squat = Command::new("flock");
        squat.args([LOCK, "sh", "-c", "echo held; exec sleep 60"]).stdout(Stdio::piped());
        let mut squatter = network.spawn(Place::Left, &mut squat).unwrap();
        let mut line = String::new();
        BufReader::new(squatter.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        let (free, busy) = (here.client.local_addr().unwrap(), there.client.local_addr().unwrap());
        let filters = [free, busy].map(|local| format!("local::{}", local.port()));
        let (output, took) =
            asked(deadpeer().args(["scan", "--json", "--all-netns", "--probe"]).args(filters));
        let _ = squatter.kill();
        squatter.wait().unwrap();
        let rows = rows(&output);
        assert_eq!(verdict(row(&rows, free)), "alive answered");
        let spared = row(&rows, busy);
        assert_eq!(spared["tries"], 0);
        assert_eq!(spared["unknown"]["probe_ms"], "another deadpeer is asking there", "{spared}");
        assert!((10.0..25.0).contains(&took.as_secs_f64()), "{took:?}");
        let told = text(&output.stderr);
        let line = format!("nobody in the network namespace {} was asked", spared["netns"]);
        assert!(told.contains(&line), "{told}");
    });
}

#[test]
fn two_runs_at_once_ask_one_after_the_other() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let mut holder = Command::new("flock");
        holder.args([LOCK, "sh", "-c", "echo held; exec sleep 2"]).stdout(Stdio::piped());
        let mut holder = Resident(holder.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(holder.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (output, took) = asked(deadpeer().args(["scan", "--json", "--probe"]));
        let rows = rows(&output);
        assert_eq!(verdict(row(&rows, pair.client.local_addr().unwrap())), "alive answered");
        assert!(took > Duration::from_millis(1500), "it waited for the other one: {took:?}");
    });
}

#[test]
fn without_a_proc_there_is_one_clear_error_and_without_sysctls_peers_are_asked_all_the_same() {
    isolated!(|| {
        if !is_root("without_a_proc_there_is_one_clear_error") {
            return;
        }
        let pair = Pair::loopback().unwrap();
        let over = |folder: &str| {
            let script = format!("mount -t tmpfs none {folder} && exec \"$@\"");
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_deadpeer")]);
            command.args(["scan", "--json", "--probe"]).output().unwrap()
        };
        let output = over("/proc");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("is it mounted?"), "{}", text(&output.stderr));
        let rows = rows(&over("/proc/sys"));
        assert_eq!(verdict(row(&rows, pair.client.local_addr().unwrap())), "alive answered");
    });
}

/// Threads and processes come and go in their hundreds; sockets that stay keep their owners.
const CHURN: &str = "
def come_and_go():
    while True:
        thread = threading.Thread(target=lambda: socket.socket().close())
        thread.start()
        thread.join()
for _ in range(8):
    threading.Thread(target=come_and_go, daemon=True).start()
kept = [pair() for _ in range(50)]
ready(kept[0][1])
while True:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
";

#[test]
fn sockets_that_stay_keep_their_owners_while_everything_comes_and_goes() {
    isolated!(|| {
        let Some((child, port)) = python(plain(), CHURN, &[]) else { return };
        let ours: TcpListener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mine = TcpStream::connect(ours.local_addr().unwrap()).unwrap();
        for _ in 0..5 {
            let rows = scan(&["--all-netns", "state:established"]);
            assert_eq!(row(&rows, local(port))["pid"], child.0.id());
            assert_eq!(row(&rows, mine.local_addr().unwrap())["pid"], std::process::id());
        }
    });
}
