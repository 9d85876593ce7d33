//! Isolated tests: they fail, die and clean up as tests must, and anybody can run them.
//!
//! The ignored tests are not for running by themselves: others here run them and look at what happens.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_lab::{Loopback, Network, Pair, Place, Unavailable, isolated, skip};
use deadpeer_os::linux::namespace::NetworkNamespace;
use deadpeer_os::linux::rtnetlink::Rtnetlink;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

fn this_executable(test: &str) -> Command {
    // Not by its path, which an ordinary user may be unable to reach.
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", test, "--include-ignored"]);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "not so after 10 s: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_isolated_test_has_its_own_namespace_and_loopback() {
    let outside = NetworkNamespace::current().unwrap().identity().unwrap().to_string();
    if std::env::var_os("OUTSIDE").is_none() {
        let output = this_executable("an_isolated_test_has_its_own_namespace_and_loopback")
            .env("OUTSIDE", outside)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    isolated!(|| {
        let inside = NetworkNamespace::current().unwrap().identity().unwrap().to_string();
        assert_ne!(std::env::var("OUTSIDE").unwrap(), inside);
        assert_eq!(rustix::process::geteuid().as_raw(), 0);
        Pair::loopback().unwrap();
    });
}

#[test]
#[ignore = "fails on purpose"]
fn fails() {
    isolated!(|| panic!("the reason why"));
}

#[test]
#[ignore = "fails on purpose"]
fn returns_an_error() {
    isolated!(|| -> Result<(), &str> { Err("the reason why") });
}

#[test]
fn what_fails_inside_fails_outside_with_its_output() {
    for test in ["fails", "returns_an_error"] {
        let output = this_executable(test).output().unwrap();
        let text = text(&output);
        if !text.contains("skipped: ") {
            assert_eq!(output.status.code(), Some(101), "{text}");
            assert!(text.contains("the reason why"), "{text}");
        }
    }
}

#[test]
#[should_panic = "ran no test of the name there_is_no_such_test"]
fn a_wrong_name_is_not_a_pass() {
    deadpeer_lab::isolated("there_is_no_such_test", || {});
    panic!("ran no test of the name there_is_no_such_test: skipped, in truth");
}

#[test]
#[ignore = "waits for ever"]
fn waits() {
    isolated!(|| {
        println!("\npid {}", std::process::id());
        loop {
            thread::park();
        }
    });
}

#[test]
fn an_isolated_test_dies_with_the_one_outside() {
    let mut outside = this_executable("waits").arg("--nocapture").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(outside.stdout.take().unwrap()).lines().map(Result::unwrap);
    let inside = lines.find_map(|line| line.strip_prefix("pid ").map(|pid| pid.parse().unwrap()));
    // Held before the kill: the number may be another's afterwards. None if it was skipped.
    let inside = inside.map(|pid| pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap());
    outside.kill().unwrap();
    outside.wait().unwrap();
    if let Some(inside) = inside {
        let mut ended = [PollFd::from_borrowed_fd(inside.as_fd(), PollFlags::IN)];
        assert_eq!(poll(&mut ended, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap(), 1);
    }
}

/// A link's name, and where it leads.
const LINKS: [(&str, Place); 3] = [("a", Place::Left), ("b", Place::Router), ("c", Place::Right)];

#[test]
fn a_dropped_network_leaves_nothing_behind() {
    isolated!(|| {
        let mut here = Rtnetlink::open().unwrap();
        let before = held();
        let network = Network::new().unwrap();
        assert_ne!(held(), before);

        // A cable from here into each of the namespaces: it disappears when the kernel frees them.
        for (link, place) in LINKS {
            here.add_veth(link, "probe", network.namespace(place).as_fd()).unwrap();
        }
        let pair = Pair::across(&network, Network::RIGHT_V4[0].into()).unwrap();
        drop((pair, network));

        // A thread that was joined may stand in the list for a moment longer.
        eventually("what is held is as before", || held() == before);
        for (link, _) in LINKS {
            eventually("the namespace is freed", || here.has_carrier(link).is_err());
        }
    });
}

/// What this process holds: threads, children, and descriptors with what they refer to.
fn held() -> BTreeSet<String> {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|task| {
        let task = task.unwrap().path();
        let net = fs::read_link(task.join("ns/net")).unwrap();
        let children = fs::read_to_string(task.join("children")).unwrap_or_default();
        format!("{task:?} in {net:?} with children {children:?}")
    });
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| {
        // The listing's own descriptor is gone by now.
        fs::read_link(fd.unwrap().path()).ok().map(|target| format!("{target:?}"))
    });
    threads.chain(descriptors.filter(|target| !target.contains("/proc/"))).collect()
}

#[test]
fn another_loopback_is_up_and_apart() {
    isolated!(|| {
        let (listener, reached) = Loopback::another(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let reached = thread::scope(|scope| {
                // A thread of a thread is there, too.
                let address = listener.local_addr();
                scope.spawn(|| TcpStream::connect(address?)).join().unwrap()
            });
            Ok((listener, reached))
        })
        .unwrap();
        reached.unwrap();
        let outside = TcpStream::connect(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(outside.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_ordinary_user_may_do_all_this() {
    const TEST: &str = "a_dropped_network_leaves_nothing_behind";
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return; // Then all tests here show it.
    }
    // With root's own powers given up …
    let output = this_executable(TEST).env("DEADPEER_LAB_UNPRIVILEGED", "1").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    // … and as another user.
    let mut as_nobody = this_executable(TEST);
    let output = match as_nobody.uid(NOBODY).gid(NOBODY).output() {
        Ok(output) => output,
        Err(why) => {
            let needs = "becoming another user needs CAP_SETUID, and users to become";
            return skip("an_ordinary_user_may_do_all_this", &Unavailable { needs, why });
        }
    };
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    eprint!("{text}"); // shows whether it was skipped
}
