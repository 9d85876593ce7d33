//! An echo server and its client, both guarded, with blocking streams and a thread a connection.
//!
//! ```text
//! cargo run -p deadpeer --example guarded_echo
//! ```
//!
//! Both sides notice within ten seconds that the other has vanished without a word, survive disturbances of
//! up to two, and can say why a connection ended. The policy is said once, on the listener; accepted streams
//! inherit it from there. To see a death, pull the cable between two machines (`serve 0.0.0.0:7007` on one,
//! `connect HOST:7007` on the other), or suspend one of them.
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use deadpeer::{Guarded, PeerLost, Policy, apply, guard};

fn main() -> Result<(), Box<dyn Error>> {
    let policy = Policy::detect(Duration::from_secs(10)).survive(Duration::from_secs(2)).build()?;
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => serve(&TcpListener::bind(address)?, &policy),
        ["connect", address] => talk(TcpStream::connect(address)?, io::stdin().lock(), &policy),
        [] => both(&policy),
        _ => Err("guarded_echo [serve ADDRESS | connect ADDRESS]".into()),
    }
}

/// A server and a client in one process, for a first look.
fn both(policy: &Policy) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        scope.spawn(|| serve_one(&listener, policy).map_err(|error| eprintln!("server: {error}")));
        talk(TcpStream::connect(address)?, &b"hello\nis anybody there?\n"[..], policy)
    })
}

fn serve(listener: &TcpListener, policy: &Policy) -> Result<(), Box<dyn Error>> {
    loop {
        serve_one(listener, policy)?;
    }
}

/// Accepts one client and echoes in a thread of its own.
fn serve_one(listener: &TcpListener, policy: &Policy) -> Result<(), Box<dyn Error>> {
    // Once is enough; the accepted streams inherit it.
    for gap in &apply(listener, policy)?.gaps {
        eprintln!("this kernel did not take {gap}");
    }
    let (stream, peer) = listener.accept()?;
    let stream = guard(stream, policy)?; // verifies what was inherited
    thread::spawn(move || match echo(stream) {
        Ok(()) => println!("{peer} has closed"),
        Err(error) => println!("{peer} is gone: {error}"),
    });
    Ok(())
}

/// The program's own protocol: nothing of it knows that the stream is guarded.
fn echo(mut stream: Guarded<TcpStream>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn talk(stream: TcpStream, lines: impl BufRead, policy: &Policy) -> Result<(), Box<dyn Error>> {
    let stream = guard(stream, policy)?;
    let mut answers = BufReader::new(&stream);
    for line in lines.lines() {
        let asked = writeln!(&stream, "{}", line?);
        let mut answer = String::new();
        match asked.and_then(|()| answers.read_line(&mut answer)) {
            Ok(0) => return Err("the server has closed".into()),
            Ok(_) => print!("{answer}"),
            Err(error) => {
                if let Some(lost) = PeerLost::of(&error) {
                    // What a program does next depends on this: repeat, reconnect, ask the user.
                    let bytes = lost.unacknowledged.unwrap_or(0);
                    eprintln!("the server is gone ({}), {bytes} bytes may not have reached it", lost.cause);
                }
                return Err(error.into());
            }
        }
    }
    Ok(())
}
