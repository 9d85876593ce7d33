//! What the lab can do on every system.
#![allow(clippy::unwrap_used, reason = "in helpers of tests")]

use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use deadpeer_lab::{Pair, Program, fill, freeze, readable_within, release};

const SOON: Duration = Duration::from_secs(60);
const NOW: Duration = Duration::from_millis(300);
const ADDRESS: &str = "DEADPEER_LAB_ECHO";

/// Not a test but a program for the others: it says again what it hears.
#[test]
fn echo() {
    let Ok(address) = env::var(ADDRESS) else { return };
    let stream = TcpStream::connect(address).unwrap();
    let (mut hears, mut says) = (&stream, &stream);
    std::io::copy(&mut hears, &mut says).unwrap();
}

/// The program, and our end of a connection to it.
fn started() -> (Program, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "echo"]).env(ADDRESS, listener.local_addr().unwrap().to_string());
    let program = Program::from(command.stdout(Stdio::null()).spawn().unwrap());
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    says_again(&mut stream);
    (program, stream)
}

fn says_again(stream: &mut TcpStream) {
    stream.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}

#[test]
fn a_frozen_process_says_nothing_until_it_thaws() {
    let (mut program, mut stream) = started();
    let frozen = freeze(&mut program).unwrap();
    stream.write_all(b"hello").unwrap(); // its system takes it
    assert!(!readable_within(&stream, NOW).unwrap());
    drop(frozen);
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    says_again(&mut stream);
}

#[test]
fn what_has_ended_can_not_be_frozen() {
    let (mut program, _stream) = started();
    program.kill().unwrap();
    program.wait().unwrap();
    assert_eq!(freeze(&mut program).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_program_ends_with_its_owner_also_while_it_is_frozen() {
    let (mut program, mut stream) = started();
    std::mem::forget(freeze(&mut program).unwrap());
    drop(program);
    // End of file or a reset, by system.
    assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)));
}

#[test]
fn a_full_window_takes_nothing_more_and_loses_nothing() {
    let Pair { mut client, mut server } = Pair::loopback().unwrap();
    let written = fill(&client).unwrap();
    assert!(written > 0);
    // It blocks as before, and all that was taken arrives.
    server.set_read_timeout(Some(SOON)).unwrap();
    let reading = std::thread::spawn(move || {
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).unwrap();
        heard
    });
    client.write_all(b"end").unwrap();
    drop(client);
    let heard = reading.join().unwrap();
    assert!(heard.len() == written + 3 && heard.ends_with(b"\0end"), "{} of {written}", heard.len());
}

#[test]
fn a_system_has_a_name() {
    assert!(release().chars().any(|char| char.is_ascii_digit()), "{}", release());
}
