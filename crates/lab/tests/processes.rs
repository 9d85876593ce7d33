//! Frozen and owned processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in helpers of tests")]

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_lab::{Pair, Program, freeze};
use deadpeer_os::linux::sockopt::{self, TCP_INFO};
use rustix::process::{Pid, test_kill_process};

/// `tcpi_unacked`: how many segments are sent and not acknowledged.
fn unacknowledged(sock: &impl AsFd) -> u32 {
    let mut info = [0; 104];
    assert_eq!(sockopt::get_bytes(sock.as_fd(), TCP_INFO, &mut info).unwrap(), info.len());
    u32::from_ne_bytes(info[24..28].try_into().unwrap())
}

#[test]
fn the_kernel_of_a_frozen_process_answers_in_its_place() {
    let Pair { mut client, server } = Pair::loopback().unwrap();
    let to_echo = OwnedFd::from(server);
    let echo = Command::new("cat").stdin(to_echo.try_clone().unwrap()).stdout(to_echo).spawn().unwrap();
    let mut echo = Program::from(echo);

    let mut answer = [0; 5];
    client.write_all(b"first").unwrap();
    client.read_exact(&mut answer).unwrap();

    let frozen = freeze(&mut echo).unwrap();
    client.write_all(b"hello").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(client.read(&mut answer).unwrap_err().kind(), ErrorKind::WouldBlock, "the process is silent");
    assert_eq!(unacknowledged(&client), 0, "its kernel is not");

    drop(frozen);
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");

    // A second time: the first left nothing behind that could be mistaken for a stop.
    drop(freeze(&mut echo).unwrap());
}

#[test]
fn a_child_that_has_ended_can_not_be_frozen() {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    assert_eq!(freeze(&mut child).unwrap_err().kind(), ErrorKind::NotFound);

    let mut zombie = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    zombie.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap(); // ends when it does
    let start = Instant::now();
    // It may have closed its output and still be about to end: then it is frozen just before.
    while let Ok(frozen) = freeze(&mut zombie) {
        drop(frozen);
        assert!(start.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(1));
    }
    assert!(zombie.wait().unwrap().success());
}

#[test]
fn a_program_ends_with_its_owner_even_while_it_is_stopped() {
    let mut program = Program::from(Command::new("sleep").arg("60").spawn().unwrap());
    let pid = Pid::from_child(&program);
    std::mem::forget(freeze(&mut program).unwrap());
    drop(program);
    assert!(test_kill_process(pid).is_err());
}
