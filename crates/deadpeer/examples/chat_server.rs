//! A chat: many clients in threads, and one of them mute.
//!
//! ```text
//! cargo run -p deadpeer --example chat_server -- serve 127.0.0.1:7008
//! cargo run -p deadpeer --example chat_server -- join 127.0.0.1:7008 NAME
//! ```
//!
//! Each connection gets its thread before anything is read from it, the greeting included: a client that connects and says
//! nothing keeps nobody waiting, and is given up within the policy. Without arguments a server, three clients and a mute
//! connection run in one process for a moment.
#![allow(clippy::print_stdout, clippy::print_stderr)] // an example talks to the person who runs it

use std::env;
use std::error::Error;
use std::io::{self, BufRead};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use deadpeer::Policy;
use deadpeer::session::{Config, Sender, Session};

fn main() -> Result<(), Box<dyn Error>> {
    let policy = Policy::detect(Duration::from_secs(5)).survive(Duration::from_secs(1)).build()?;
    let config = Config::keeping(&policy)?;
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => Ok(serve(&TcpListener::bind(address)?, &config)?),
        ["join", address, name] => Ok(join(TcpStream::connect(address)?, &config.id(name))?),
        [] => demonstrate(config),
        _ => Err("chat_server [serve ADDRESS | join ADDRESS NAME]".into()),
    }
}

/// The sending halves of all clients.
type Room = Arc<Mutex<Vec<(String, Sender)>>>;

fn serve(listener: &TcpListener, config: &Config) -> io::Result<()> {
    let room = Room::default();
    for stream in listener.incoming() {
        let (stream, config, room) = (stream?, config.clone(), Arc::clone(&room));
        thread::spawn(move || {
            let peer = stream.peer_addr();
            if let Err(error) = attend(stream, &config, &room) {
                eprintln!("server: {peer:?}: {error}");
            }
        });
    }
    Ok(())
}

/// One client, from its greeting to its end.
fn attend(stream: TcpStream, config: &Config, room: &Room) -> io::Result<()> {
    let session = Session::accept(stream, config)?;
    let name = session.peer_id().to_owned();
    let (sender, receiver) = session.split();
    let others = || room.lock().unwrap_or_else(PoisonError::into_inner);
    others().push((name.clone(), sender));
    let ended = loop {
        match receiver.recv() {
            Ok(Some(message)) => {
                let line = [name.as_bytes(), b": ", &message].concat();
                // A client that takes nothing must not hold up the others: its message is dropped.
                others().retain(|(_, other)| match other.send_within(&line, Duration::from_millis(10)) {
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                    Ok(()) => true,
                });
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    others().retain(|(other, _)| *other != name);
    ended
}

/// Sends the lines of the standard input, and prints what the others say.
fn join(stream: TcpStream, config: &Config) -> io::Result<()> {
    let (sender, receiver) = Session::connect(stream, config)?.split();
    let printing = thread::spawn(move || {
        while let Some(message) = receiver.recv()? {
            println!("{}", String::from_utf8_lossy(&message));
        }
        Ok(())
    });
    for line in io::stdin().lock().lines() {
        sender.send(line?.as_bytes())?;
    }
    drop(sender); // the end of our messages
    printing.join().unwrap_or_else(|_| Err(io::Error::other("the printing thread panicked")))
}

fn demonstrate(config: Config) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let there = config.clone();
    thread::spawn(move || serve(&listener, &there));
    // It connects first, and says nothing, ever.
    let _mute = TcpStream::connect(address)?;
    let mut clients = Vec::new();
    for name in ["ada", "grace", "barbara"] {
        let session = Session::connect(TcpStream::connect(address)?, &config.clone().id(name))?;
        session.send(b"hello")?;
        // Its own words come back: now it is in the room.
        while session.recv()?.is_some_and(|message| message != format!("{name}: hello").into_bytes()) {}
        println!("{name} is in");
        clients.push(session);
    }
    clients[0].send(b"who is there?")?;
    for client in &clients[1..] {
        while client.recv()?.is_some_and(|message| message != b"ada: who is there?") {}
    }
    println!("everybody heard ada");
    Ok(())
}
