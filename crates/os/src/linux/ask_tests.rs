//! Questions on real sockets.

use super::*;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use deadpeer_lab::isolated;

use super::sockopt::{TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL};

#[test]
fn a_socket_in_repair_is_left_alone() {
    isolated!(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(window_probe(client.as_fd()).is_ok());
        sockopt::set(client.as_fd(), sockopt::TCP_REPAIR, 1).unwrap();
        assert_eq!(window_probe(client.as_fd()), Err(Why::InRepair));
        assert_eq!(sockopt::get(client.as_fd(), sockopt::TCP_REPAIR).unwrap(), 1, "still in repair");
    });
}

#[test]
fn only_an_established_socket_without_timers_of_its_own_lends_its_keepalive() {
    isolated!(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(window_probe(listener.as_fd()), Err(Why::NotEstablished));
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_, changed) = keepalive_probe(client.as_fd()).unwrap();
        // Asked again in the middle of it, as by another run.
        assert_eq!(keepalive_probe(client.as_fd()).unwrap_err(), Why::Borrowed);
        undo(client.as_fd(), changed);
        assert_eq!(sockopt::get(client.as_fd(), sockopt::SO_KEEPALIVE).unwrap(), 0);
        assert_eq!(sockopt::get(client.as_fd(), sockopt::TCP_KEEPINTVL).unwrap(), 75);
        sockopt::set(client.as_fd(), sockopt::TCP_USER_TIMEOUT, 60_000).unwrap();
        assert_eq!(keepalive_probe(client.as_fd()).unwrap_err(), Why::OwnTimers);
    });
}

/// A connection with the three values that its owner set before, keepalive off.
fn owned() -> (TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    for (option, value) in [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT].into_iter().zip([70, 20, 6]) {
        sockopt::set(client.as_fd(), option, value).unwrap();
    }
    (client, listener)
}

fn all(sock: BorrowedFd<'_>) -> [i32; 4] {
    [sockopt::SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT]
        .map(|option| sockopt::get(sock, option).unwrap())
}

#[test]
fn keepalive_that_the_owner_sets_while_it_is_borrowed_stays_on_with_the_owners_values() {
    let (client, _listener) = owned();
    let sock = client.as_fd();
    for (option, value, expected) in [
        (TCP_KEEPIDLE, 60, [1, 60, 20, 6]),
        (TCP_KEEPINTVL, 10, [1, 70, 10, 6]),
        (TCP_KEEPCNT, 4, [1, 70, 20, 4]),
    ] {
        let (_, changed) = keepalive_probe(sock).unwrap();
        sockopt::set(sock, sockopt::SO_KEEPALIVE, 1).unwrap();
        sockopt::set(sock, option, value).unwrap();
        undo(sock, changed);
        assert_eq!(all(sock), expected, "{}", option.as_str());
        for (option, value) in
            [(sockopt::SO_KEEPALIVE, 0), (TCP_KEEPIDLE, 70), (TCP_KEEPINTVL, 20), (TCP_KEEPCNT, 6)]
        {
            sockopt::set(sock, option, value).unwrap();
        }
    }
    // The owner turned it off: so it stays.
    let (_, changed) = keepalive_probe(sock).unwrap();
    sockopt::set(sock, sockopt::SO_KEEPALIVE, 0).unwrap();
    undo(sock, changed);
    assert_eq!(all(sock), [0, 70, 20, 6]);
}

#[test]
fn an_owner_in_the_middle_of_its_calls_keeps_its_keepalive() {
    let (client, _listener) = owned();
    let sock = client.as_fd();
    let set = |option, value| sockopt::set(sock, option, value).unwrap();
    // It has called SO_KEEPALIVE when ours goes off, and its next call comes right after.
    let (_, changed) = keepalive_probe(sock).unwrap();
    set(sockopt::SO_KEEPALIVE, 1);
    assert!(switch_off(sock));
    set(TCP_KEEPIDLE, 60);
    on_again_for_the_owner(sock);
    restore(sock, changed);
    assert_eq!(all(sock), [1, 60, 20, 6]);
    // It turns keepalive on while we are about to.
    set(sockopt::SO_KEEPALIVE, 1);
    assert_eq!(arm(sock), Err(Why::OwnTimers));
    assert_eq!(all(sock), [1, 60, 20, 6]);
}

/// What `undo` can't tell, as docs/asking.md says: should the kernel ever leave a trace, here is where it shows.
#[test]
fn an_owner_that_only_turns_keepalive_on_leaves_no_trace() {
    let (client, _listener) = owned();
    let (_, changed) = keepalive_probe(client.as_fd()).unwrap();
    let before = all(client.as_fd());
    sockopt::set(client.as_fd(), sockopt::SO_KEEPALIVE, 1).unwrap();
    assert_eq!(all(client.as_fd()), before);
    undo(client.as_fd(), changed);
    assert_eq!(all(client.as_fd()), [0, 70, 20, 6]);
}

/// Two processes that ask the same socket: without the lock one takes the SO_REUSEADDR that the other has
/// just cleared for the owner's.
#[test]
fn many_at_once_leave_the_socket_as_it_was() {
    isolated!(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sockopt::set(client.as_fd(), sockopt::SO_REUSEADDR, 1).unwrap();
        let ask = || (0..20_000).all(|_| matches!(window_probe(client.as_fd()), Ok(_) | Err(Why::Busy)));
        let children = [(); 3].map(|()| {
            // SAFETY: this process has no other thread at work; the child makes system calls only and ends.
            match unsafe { libc::fork() } {
                // SAFETY: it ends the process at once.
                0 => unsafe { libc::_exit(i32::from(!ask())) },
                child => child,
            }
        });
        assert!(ask());
        for child in children {
            let pid = rustix::process::Pid::from_raw(child).unwrap();
            let (_, status) =
                rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0));
        }
        assert_eq!(sockopt::get(client.as_fd(), sockopt::SO_REUSEADDR).unwrap(), 1);
    });
}
