//! What a kernel, a container or a user does not allow: an honest row or one clear error.

use std::collections::BTreeMap;
use std::net::{TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::common::{deadpeer, row, rows, verdict};
use deadpeer_lab::{Network, Pair, Place, Unavailable, isolated, skip};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use socket2::{SockRef, TcpKeepalive};

/// From now on system call `number` fails with `errno` in this process and its children; with `first`, only
/// where its first argument is that.
fn forbid(number: i64, first: Option<u64>, errno: i32) {
    let rules = first.into_iter().map(|value| {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
        SeccompRule::new(vec![condition.unwrap()]).unwrap()
    });
    let filter = SeccompFilter::new(
        BTreeMap::from([(number, rules.collect())]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

fn run(args: &[&str]) -> Output {
    deadpeer().args(["scan", "--json"]).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn without_pidfd_getfd_what_the_timer_proves_is_told_and_nobody_is_asked() {
    isolated!(|| {
        let guarded = Pair::loopback().unwrap();
        SockRef::from(&guarded.client)
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)))
            .unwrap();
        forbid(libc::SYS_pidfd_getfd, None, libc::ENOSYS);
        let output = run(&["--probe"]);
        let rows = rows(&output);
        let of = |stream: &TcpStream| row(&rows, stream.local_addr().unwrap());
        let (client, server) = (of(&guarded.client), of(&guarded.server));
        assert_eq!(client["keepalive"]["enabled"], true, "its timer runs");
        assert_eq!(server["keepalive"]["enabled"], false, "no timer runs");
        for row in [client, server] {
            assert_eq!(row["pid"], std::process::id(), "/proc is enough for that");
            assert_eq!(verdict(row), "alive heard");
            assert_eq!(row["tries"], 0);
            let unknown = &row["unknown"];
            for key in ["user_timeout_ms", "probe_ms", "detection.in_flight"] {
                assert!(unknown[key].as_str().unwrap().contains("kernel"), "{key} in {unknown}");
            }
        }
        assert!(text(&output.stderr).contains("2 could not be asked"), "{}", text(&output.stderr));
    });
}

#[test]
fn without_sock_diag_one_error_names_what_is_missing() {
    isolated!(|| {
        forbid(libc::SYS_socket, Some(libc::AF_NETLINK as u64), libc::EAFNOSUPPORT);
        let output = run(&[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let told = text(&output.stderr);
        assert!(told.starts_with("deadpeer: the kernel's list of TCP sockets can't be read: "), "{told}");
        assert_eq!(told.lines().count(), 1);
    });
}

#[test]
fn without_any_right_everything_is_listed_and_says_what_is_missing() {
    isolated!(|| {
        let pair = Pair::loopback().unwrap();
        let output = Command::new("setpriv")
            .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
            .arg(env!("CARGO_BIN_EXE_deadpeer"))
            .args(["scan", "--json", "--probe"])
            .output()
            .unwrap();
        let rows = rows(&output);
        let row = row(&rows, pair.client.local_addr().unwrap());
        assert_eq!(verdict(row), "alive heard");
        assert!(row["pid"].is_null() && row["owners"].is_null());
        assert!(row["unknown"]["pid"].as_str().unwrap().contains("permission"), "{row}");
        assert_eq!(row["keepalive"]["enabled"], false, "the list's own timer proves it");
        assert_eq!(row["detection"]["in_flight"]["kind"], "unknown");
        let told = text(&output.stderr);
        assert!(told.contains("2 could not be asked") && told.contains("CAP_SYS_PTRACE"), "{told}");
    });
}

/// The way back is so slow that the answer stands in a queue for seconds.
#[test]
fn a_slow_answer_is_an_answer() {
    isolated!(|| {
        let network = Network::new().unwrap();
        let pair = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
        let mut slow = Command::new("tc");
        slow.args("qdisc add dev eth0 root tbf rate 16kbit burst 1600 limit 65536".split(' '));
        let slow = network.spawn(Place::Right, slow.stderr(Stdio::piped())).unwrap().wait().unwrap();
        if !slow.success() {
            let why = std::io::ErrorKind::Unsupported.into();
            return skip("a_slow_answer_is_an_answer", &Unavailable { needs: "the qdisc tbf", why });
        }
        // 2,000 bytes a second: the queue holds five seconds.
        let filler = network.right(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        for _ in 0..10 {
            filler.send_to(&[0; 1000], (Network::LEFT_V4, 9)).unwrap();
        }
        let mut asking = deadpeer();
        asking.args(["scan", "--json", "--probe"]).stdout(Stdio::piped());
        let rows = crate::verdicts::output(network.spawn(Place::Left, &mut asking).unwrap());
        let answered = row(&rows, pair.client.local_addr().unwrap());
        assert_eq!(verdict(answered), "alive answered");
        let after = answered["probe_most_ms"].as_f64().unwrap();
        assert!(after >= 1000.0, "it came from the queue: {after} ms");
    });
}
