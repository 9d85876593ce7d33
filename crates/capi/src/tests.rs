//! What programs in C can do, and what they can do wrong.
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::mem::size_of;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::ptr::{null, null_mut};
use std::time::Duration;

use library::{Cause, Verdict};
use socket2::SockRef;

use crate::apply::{deadpeer_applied, deadpeer_apply, deadpeer_before_close};
use crate::diagnose::{deadpeer_cause, deadpeer_diagnose, deadpeer_diagnosis, deadpeer_verdict};
use crate::error::{self, deadpeer_last_errno, deadpeer_last_error, deadpeer_status};
use crate::handles::Handles;
use crate::heartbeat::*;
use crate::loss::{deadpeer_explain, deadpeer_loss, deadpeer_lost, deadpeer_over, deadpeer_peer_lost};
use crate::plain::text;
use crate::policy::{deadpeer_goals, deadpeer_policy, deadpeer_policy_free, deadpeer_policy_new};

const INVALID: c_int = deadpeer_status::Invalid as c_int;
const SYSTEM: c_int = deadpeer_status::System as c_int;
const UNREACHABLE: c_int = deadpeer_status::Unreachable as c_int;
const PROTOCOL: c_int = deadpeer_status::Protocol as c_int;

/// All zeros but the size, as `= {.size = sizeof …}` makes it in C.
fn zeroed<T>() -> T {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: only used for the structures of the header: numbers, arrays of them, enums with a zero, pointers.
    unsafe {
        value.as_mut_ptr().cast::<usize>().write(size_of::<T>());
        value.assume_init()
    }
}

fn last_error() -> String {
    // SAFETY: it ends with a zero, and this thread makes no call meanwhile.
    unsafe { CStr::from_ptr(deadpeer_last_error()) }.to_str().unwrap().to_owned()
}

fn string(chars: &[std::ffi::c_char]) -> String {
    // SAFETY: `text` ends them with a zero.
    unsafe { CStr::from_ptr(chars.as_ptr()) }.to_str().unwrap().to_owned()
}

fn policy(detect_ms: u64, survive_ms: u64) -> *mut deadpeer_policy {
    let goals = deadpeer_goals { detect_ms, survive_ms, ..zeroed() };
    // SAFETY: the structure is there, and its size is right.
    unsafe { deadpeer_policy_new(&goals) }
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn apply(socket: c_int, policy: *const deadpeer_policy, applied: *mut deadpeer_applied) -> c_int {
    // SAFETY: the tests pass null, or a structure with its size.
    unsafe { deadpeer_apply(socket, policy, applied) }
}

#[test]
fn goals_become_settings_and_a_prediction() {
    let (client, _server) = connected();
    let policy = policy(15_000, 5_000);
    let mut applied = zeroed::<deadpeer_applied>();
    assert_eq!(apply(client.as_raw_fd(), policy, &mut applied), 0, "{}", last_error());
    assert!(applied.keepalive_idle_ms > 0 && applied.user_timeout_ms > 0, "{applied:?}");
    assert!(applied.idle.least_ms > 5_000 && applied.idle.most_ms <= 15_000, "{:?}", applied.idle);
    assert_eq!(applied.gap_count, 0);
    assert_eq!(apply(client.as_raw_fd(), policy, null_mut()), 0, "no answer is wanted");
    assert_eq!(deadpeer_policy_free(policy), 0);
}

#[test]
fn what_the_socket_can_not_keep_is_an_error_with_its_settings() {
    let (client, _server) = connected();
    let goals = deadpeer_goals { detect_ms: 30_000, slow_readers: 1, ..zeroed() };
    // SAFETY: the structures are there, and their sizes are right.
    let strict = unsafe { deadpeer_policy_new(&goals) };
    let mut applied = zeroed::<deadpeer_applied>();
    assert_eq!(apply(client.as_raw_fd(), strict, &mut applied), UNREACHABLE);
    assert!(
        last_error().contains("With data in flight, a death is noticed only after up to"),
        "{}",
        last_error()
    );
    assert!(applied.in_flight.most_ms > 900_000 && applied.idle.most_ms <= 30_000, "{applied:?}");
    // SAFETY: as above.
    let best = unsafe { deadpeer_policy_new(&deadpeer_goals { best_effort: 1, ..goals }) };
    assert_eq!(apply(client.as_raw_fd(), best, &mut applied), 0, "{}", last_error());
    // SAFETY: as above.
    let ceiling = unsafe { deadpeer_policy_new(&deadpeer_goals { accept_rto_ceiling: 1, ..goals }) };
    if library::platform().rto_max_per_socket {
        assert_eq!(apply(client.as_raw_fd(), ceiling, &mut applied), 0, "{}", last_error());
        assert_eq!(applied.rto_max_ms, 1_000);
        // SAFETY: the socket is open.
        assert_eq!(unsafe { deadpeer_before_close(client.as_raw_fd()) }, 0);
        assert_eq!(
            library::protection(&client).unwrap().rto_max.value(),
            Some(Some(Duration::from_secs(120)))
        );
    }
    for policy in [strict, best, ceiling] {
        assert_eq!(deadpeer_policy_free(policy), 0);
    }
}

#[test]
fn goals_of_the_first_version_have_what_was_there_then_and_no_more() {
    // Its last field was followed by padding, in which a program may have anything.
    let mut old = [0xff_u8; 48];
    old[..8].copy_from_slice(&48_usize.to_ne_bytes());
    old[8..16].copy_from_slice(&30_000_u64.to_ne_bytes());
    old[16..44].fill(0);
    // SAFETY: as many bytes are there as their size says.
    let policy = unsafe { deadpeer_policy_new(old.as_ptr().cast()) };
    let (client, _server) = connected();
    assert_eq!(apply(client.as_raw_fd(), policy, null_mut()), 0, "{}", last_error());
    assert_eq!(deadpeer_policy_free(policy), 0);
}

#[test]
fn half_a_close_is_an_end_for_lost_and_none_for_over() {
    let (client, server) = connected();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut lost = zeroed::<deadpeer_peer_lost>();
    // SAFETY: the socket is open, and the structure has its size.
    assert_eq!(unsafe { deadpeer_lost(server.as_raw_fd(), 5_000, &mut lost) }, 1);
    assert_eq!(lost.cause, deadpeer_loss::Closed);
    // SAFETY: as above.
    assert_eq!(unsafe { deadpeer_over(server.as_raw_fd(), 50, &mut lost) }, 0);
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    std::io::Read::read(&mut { &server }, &mut [0]).unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { deadpeer_over(server.as_raw_fd(), 5_000, &mut lost) }, 1);
    assert_eq!(lost.cause, deadpeer_loss::Reset);
    // Its error was taken: the next one can't know it.
    // SAFETY: as above.
    assert_eq!(unsafe { deadpeer_over(server.as_raw_fd(), 0, &mut lost) }, 1);
    assert_eq!((lost.error, string(&lost.cause_word)), (0, "closed".to_owned()), "{}", string(&lost.text));
}

#[test]
fn contradictions_and_missing_goals_have_no_policy() {
    assert!(policy(5_000, 6_000).is_null());
    assert_eq!(last_error(), "a death can't be noticed within 5 s when an outage of 6 s must be survived");
    assert!(policy(0, 0).is_null());
    assert!(last_error().contains("detect_ms is 0"));
    // SAFETY: null is allowed.
    assert!(unsafe { deadpeer_policy_new(null()) }.is_null());
    assert_eq!(last_error(), "the deadpeer_goals is a null pointer");
}

#[test]
fn handles_that_are_null_freed_foreign_or_invented_are_errors() {
    let (client, _server) = connected();
    let fd = client.as_raw_fd();
    let policy = policy(15_000, 5_000);
    // SAFETY: no id.
    let heartbeat = unsafe { deadpeer_heartbeat_open(policy, null(), deadpeer_role::Connector as c_int) };
    assert!(!heartbeat.is_null());
    for wrong in [null_mut(), heartbeat.cast(), 0x7fff_0000_1234_usize as *mut deadpeer_policy] {
        assert_eq!(apply(fd, wrong, null_mut()), INVALID, "{wrong:?}");
    }
    assert_eq!(deadpeer_heartbeat_next_deadline_ms(policy.cast()), INVALID);
    assert_eq!((deadpeer_policy_free(policy), deadpeer_policy_free(policy)), (0, INVALID), "freed twice");
    assert!(last_error().ends_with("is no policy, or was freed"), "{}", last_error());
    assert_eq!(apply(fd, policy, null_mut()), INVALID, "used after it was freed");
    assert!(deadpeer_heartbeat_next_deadline_ms(heartbeat) > 0, "it needs its policy no more");
    assert_eq!((deadpeer_heartbeat_free(heartbeat), deadpeer_heartbeat_free(heartbeat)), (0, INVALID));
    assert_eq!((deadpeer_policy_free(null_mut()), deadpeer_heartbeat_free(null_mut())), (0, 0));
}

#[test]
fn sockets_that_are_none_are_errors_with_their_numbers() {
    let policy = policy(15_000, 5_000);
    assert_eq!(apply(-1, policy, null_mut()), INVALID);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(apply(file.as_raw_fd(), policy, null_mut()), SYSTEM);
    assert_eq!(deadpeer_last_errno(), libc::ENOTSOCK);
    assert!(last_error().contains("on this socket failed"), "{}", last_error());
    let mut diagnosis = zeroed::<deadpeer_diagnosis>();
    // SAFETY: a structure with its size.
    let status = unsafe { deadpeer_diagnose(file.as_raw_fd(), &mut diagnosis, null_mut()) };
    assert_eq!((status, deadpeer_last_errno()), (SYSTEM, libc::ENOTSOCK));
    assert_eq!(apply(i32::MAX, policy, null_mut()), SYSTEM);
    assert_eq!(deadpeer_last_errno(), libc::EBADF);
    deadpeer_policy_free(policy);
}

#[test]
fn structures_of_other_versions() {
    // Of an older program: it gets what it knows, and not a byte more.
    let (client, _server) = connected();
    let policy = policy(15_000, 5_000);
    let mut roomy = [0xaa_u8; size_of::<deadpeer_applied>() + 16];
    let first = <deadpeer_applied as crate::plain::Plain>::FIRST;
    roomy[..8].copy_from_slice(&first.to_ne_bytes());
    assert_eq!(apply(client.as_raw_fd(), policy, roomy.as_mut_ptr().cast()), 0, "{}", last_error());
    assert!(roomy[first..].iter().all(|byte| *byte == 0xaa));
    assert_eq!(roomy[..8], first.to_ne_bytes());
    // Of a newer one: it is told how much this library knows.
    let all = roomy.len().to_ne_bytes();
    roomy[..8].copy_from_slice(&all);
    assert_eq!(apply(client.as_raw_fd(), policy, roomy.as_mut_ptr().cast()), 0);
    assert_eq!(roomy[..8], size_of::<deadpeer_applied>().to_ne_bytes());
    // And it may not ask for what this one does not know.
    let mut goals = [0_u64; 16];
    (goals[0], goals[1]) = (128, 15_000);
    // SAFETY: as long as its size says.
    assert!(!unsafe { deadpeer_policy_new(goals.as_ptr().cast()) }.is_null(), "{}", last_error());
    goals[15] = 1;
    // SAFETY: as above.
    assert!(unsafe { deadpeer_policy_new(goals.as_ptr().cast()) }.is_null());
    assert_eq!(last_error(), "deadpeer_goals asks for what this older library does not know");
    // Forgotten.
    let mut forgotten = deadpeer_applied { size: 0, ..zeroed() };
    assert_eq!(apply(client.as_raw_fd(), policy, &mut forgotten), INVALID);
    assert!(last_error().starts_with("deadpeer_applied.size is 0: set it to sizeof"), "{}", last_error());
}

#[test]
fn a_pending_error_is_told_and_taken_only_where_there_is_room_for_it() {
    let (client, server) = connected();
    let fd = client.as_raw_fd();
    let mut lost = zeroed::<deadpeer_peer_lost>();
    // SAFETY: structures with their sizes, or null, or one without: here and below.
    assert_eq!(unsafe { deadpeer_lost(fd, 0, &mut lost) }, 0);
    assert_eq!((lost.cause, lost.silent_ms), (deadpeer_loss::None, -2));
    SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    let mut forgotten = deadpeer_diagnosis { size: 0, ..zeroed() };
    // SAFETY: see above.
    assert_eq!(unsafe { deadpeer_diagnose(fd, &mut forgotten, null_mut()) }, INVALID);
    let mut diagnosis = zeroed::<deadpeer_diagnosis>();
    // SAFETY: see above.
    assert_eq!(unsafe { deadpeer_diagnose(fd, &mut diagnosis, &mut lost) }, 1);
    assert_eq!((diagnosis.pending_error, lost.error), (libc::ECONNRESET, libc::ECONNRESET));
    assert_eq!((lost.cause, string(&lost.cause_word)), (deadpeer_loss::Reset, "reset".into()));
    assert_eq!(string(&lost.text), "the peer reset the connection");
    // SAFETY: see above.
    assert_eq!(unsafe { deadpeer_explain(fd, libc::EAGAIN, &mut lost) }, 0);
    // SAFETY: see above.
    assert_eq!(unsafe { deadpeer_explain(fd, libc::ECONNRESET, null_mut()) }, 1);
}

#[test]
fn a_diagnosis_of_a_living_connection() {
    let (client, _server) = connected();
    let mut diagnosis = zeroed::<deadpeer_diagnosis>();
    // SAFETY: a structure with its size.
    assert_eq!(unsafe { deadpeer_diagnose(client.as_raw_fd(), &mut diagnosis, null_mut()) }, 0);
    assert_eq!(
        (diagnosis.verdict, string(&diagnosis.verdict_word)),
        (deadpeer_verdict::Alive, "alive".into())
    );
    assert_eq!((diagnosis.cause, string(&diagnosis.state)), (deadpeer_cause::Heard, "established".into()));
    assert_eq!((diagnosis.idle.least_ms, diagnosis.idle.most_ms), (-1, -1), "nothing is set: never");
    assert!(string(&diagnosis.evidence).starts_with("last heard "), "{diagnosis:?}");
}

#[test]
fn every_verdict_and_cause_has_a_number() {
    for verdict in Verdict::ALL {
        assert_ne!(deadpeer_verdict::from(*verdict), deadpeer_verdict::Other, "{verdict}");
    }
    for cause in Cause::ALL {
        assert_ne!(deadpeer_cause::from(*cause), deadpeer_cause::Other, "{cause}");
    }
    assert!(Verdict::ALL.is_sorted_by_key(|verdict| deadpeer_verdict::from(*verdict) as c_int));
}

#[test]
fn a_panic_becomes_a_number_and_spoils_only_its_object() {
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    static OBJECTS: Handles<u8> = Handles::new("object");
    let (one, other) = (OBJECTS.insert::<u8>(1), OBJECTS.insert::<u8>(2));
    let status = error::status(|| OBJECTS.with(one, |_| panic!("what {}", "now")));
    std::panic::set_hook(silent);
    assert_eq!(status, deadpeer_status::Bug as c_int);
    assert_eq!(last_error(), "a defect of deadpeer, please report it: what now");
    assert!(OBJECTS.with(one, |_| Ok(())).is_err());
    assert!(OBJECTS.with(other, |_| Ok(())).is_ok());
    assert!(OBJECTS.remove(one).is_ok());
}

#[test]
fn texts_are_cut_at_a_character_and_end_with_a_zero() {
    assert_eq!(string(&text::<4>("abcdef")), "abc");
    assert_eq!(string(&text::<4>("abé")), "ab");
    assert_eq!(string(&text::<4>("")), "");
}

#[test]
fn errors_are_a_threads_own() {
    assert!(policy(5_000, 6_000).is_null());
    std::thread::spawn(|| assert_eq!((last_error(), deadpeer_last_errno()), (String::new(), 0)))
        .join()
        .unwrap();
    assert!(last_error().contains("6 s"));
}

/// Carries what one side has to say to the other.
fn carry(from: *mut deadpeer_heartbeat, to: *mut deadpeer_heartbeat) {
    let mut bytes = null();
    // SAFETY: a place for the pointer; the bytes stay until the next call with `from`.
    unsafe {
        let length = deadpeer_heartbeat_output(from, &mut bytes);
        // In two portions, as TCP may.
        for (at, portion) in [(0, length / 2), (length / 2, length - length / 2)] {
            assert_eq!(deadpeer_heartbeat_input(to, bytes.add(at), portion), 0);
        }
        assert_eq!(deadpeer_heartbeat_written(from, length), 0);
    }
}

fn poll(heartbeat: *mut deadpeer_heartbeat) -> (c_int, deadpeer_event_kind, Vec<u8>) {
    let mut event = zeroed::<deadpeer_event>();
    // SAFETY: a structure with its size.
    let status = unsafe { deadpeer_heartbeat_poll(heartbeat, &mut event) };
    let bytes = if event.data.is_null() {
        Vec::new()
    } else {
        // SAFETY: the event's bytes, until the next call.
        unsafe { std::slice::from_raw_parts(event.data, event.length) }.to_vec()
    };
    (status, event.kind, bytes)
}

fn send(heartbeat: *mut deadpeer_heartbeat, message: &[u8]) -> c_int {
    // SAFETY: a slice.
    unsafe { deadpeer_heartbeat_send(heartbeat, message.as_ptr(), message.len()) }
}

fn open(id: &CStr, policy: *const deadpeer_policy, role: deadpeer_role) -> *mut deadpeer_heartbeat {
    // SAFETY: it ends with a zero.
    unsafe { deadpeer_heartbeat_open(policy, id.as_ptr(), role as c_int) }
}

/// Both ends, which have agreed.
fn agreed(policy: *const deadpeer_policy) -> (*mut deadpeer_heartbeat, *mut deadpeer_heartbeat) {
    let alice = open(c"alice", policy, deadpeer_role::Connector);
    let bob = open(c"bob", policy, deadpeer_role::Acceptor);
    assert_eq!(send(alice, b"too early"), PROTOCOL);
    assert_eq!(last_error(), "the message was not sent: the session is not up yet");
    carry(alice, bob);
    assert_eq!(deadpeer_heartbeat_next_deadline_ms(bob), 0, "something came");
    assert_eq!(poll(bob), (1, deadpeer_event_kind::Up, b"alice".to_vec()));
    carry(bob, alice);
    assert_eq!(poll(alice), (1, deadpeer_event_kind::Up, b"bob".to_vec()));
    (alice, bob)
}

#[test]
fn two_heartbeats_greet_talk_and_part() {
    use deadpeer_event_kind as Kind;
    let policy = policy(3_000, 500);
    let (alice, bob) = agreed(policy);
    assert_eq!((poll(alice).0, poll(bob).0), (0, 0));
    let wait = deadpeer_heartbeat_next_deadline_ms(alice);
    assert!((1..=1_000).contains(&wait), "a beat a second: {wait}");

    assert_eq!((send(alice, b"one"), send(alice, b"")), (0, 0));
    assert_eq!(send(alice, &vec![0; 70_000]), INVALID);
    carry(alice, bob);
    assert_eq!(poll(bob), (1, Kind::Message, b"one".to_vec()));
    assert_eq!(poll(bob), (1, Kind::Message, b"".to_vec()));

    assert_eq!(deadpeer_heartbeat_bye(alice, 300, 0), INVALID);
    assert_eq!(deadpeer_heartbeat_bye(alice, deadpeer_reason::Restarting as c_int, 1_500), 0);
    carry(alice, bob);
    let mut event = zeroed::<deadpeer_event>();
    // SAFETY: a structure with its size.
    assert_eq!(unsafe { deadpeer_heartbeat_poll(bob, &mut event) }, 1);
    assert_eq!((event.kind, event.reason, event.us), (Kind::Bye, 1, 1_500_000));
    assert_eq!(send(bob, b"too late"), PROTOCOL);
    for object in [alice, bob] {
        assert_eq!(deadpeer_heartbeat_free(object), 0);
    }
}

#[test]
fn a_silent_heartbeat_is_lost_and_told_once() {
    let policy = policy(1_000, 100);
    let (alice, _bob) = agreed(policy);
    let since = std::time::Instant::now();
    let lost = loop {
        let (status, kind, _) = poll(alice);
        if status == 1 {
            break kind;
        }
        assert!(since.elapsed() < Duration::from_secs(5));
        let wait = deadpeer_heartbeat_next_deadline_ms(alice);
        std::thread::sleep(Duration::from_millis(wait.try_into().unwrap()));
    };
    assert_eq!(lost, deadpeer_event_kind::Lost);
    assert!(since.elapsed() >= Duration::from_millis(990), "{:?}", since.elapsed());
    assert_eq!((poll(alice).0, deadpeer_heartbeat_next_deadline_ms(alice)), (0, c_int::MAX));
    let mut events = [const { MaybeUninit::<deadpeer_happened>::uninit() }; 64];
    // SAFETY: room for as many.
    let count = unsafe { deadpeer_heartbeat_events(alice, events.as_mut_ptr().cast(), events.len()) };
    let mut whats = Vec::new();
    for event in &events[..usize::try_from(count).unwrap()] {
        // SAFETY: it was filled in, and its name ends with a zero.
        let what = unsafe { CStr::from_ptr(event.assume_init_ref().what.as_ptr()) };
        whats.push(what.to_str().unwrap().to_owned());
    }
    assert_eq!(whats[..2], ["opened", "sent-hello"]);
    assert!(whats.contains(&"heard-hello".to_owned()), "{whats:?}");
    assert_eq!(whats.last().map(String::as_str), Some("lost"));
}

#[test]
fn a_stranger_is_refused_and_told_so() {
    let policy = policy(3_000, 500);
    let alice = open(c"alice", policy, deadpeer_role::Connector);
    let request = b"GET / HTTP/1.1\r\n\r\n";
    // SAFETY: a slice.
    assert_eq!(unsafe { deadpeer_heartbeat_input(alice, request.as_ptr(), request.len()) }, 0);
    assert_eq!((poll(alice).0, poll(alice).0), (PROTOCOL, PROTOCOL), "and again");
    assert_eq!(last_error(), "the peer does not speak deadpeer's session protocol");
    let mut bytes = null();
    // SAFETY: a place for the pointer.
    let length = unsafe { deadpeer_heartbeat_output(alice, &mut bytes) };
    assert!(length > 6, "the greeting");
    assert_eq!(deadpeer_heartbeat_written(alice, length + 1), INVALID);
    // SAFETY: null is an error.
    assert_eq!(unsafe { deadpeer_heartbeat_input(alice, null(), 5) }, INVALID);
}

#[test]
fn a_peer_that_takes_nothing_fills_no_memory() {
    let policy = policy(3_000, 500);
    let (alice, _bob) = agreed(policy);
    let message = vec![7; 60_000];
    let sent = (0..100).take_while(|_| send(alice, &message) == 0).count();
    assert_eq!(sent, 5, "256 KiB, and what began below");
    assert!(last_error().starts_with("not sent: 300"), "{}", last_error());
}
