//! The far end of a connection as a process of its own, for what only a process can suffer.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use deadpeer::session::Session;
use deadpeer_lab::Program;

use super::args::Peer;
use super::end::config;

/// Starts such a process; returns our end of its connection.
///
/// It connects to us and says from where: no socket has to be handed over, which every system does in another
/// way.
pub(super) fn start(beat: bool, abrupt: bool) -> io::Result<(TcpStream, Program)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["lab", "peer", &listener.local_addr()?.to_string()])
        .args(beat.then_some("--beat"))
        .args(abrupt.then_some("--abrupt"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = Program::from(command.spawn()?);
    let mut said = String::new();
    if let Some(out) = process.stdout.take() {
        BufReader::new(out).read_line(&mut said)?;
    }
    let theirs: SocketAddr = said
        .trim()
        .parse()
        .map_err(|_| io::Error::other("the process of the far end ended before it was connected"))?;
    // Loopback is everybody's.
    loop {
        let (ours, from) = listener.accept()?;
        if from == theirs {
            return Ok((ours, process));
        }
    }
}

/// `deadpeer lab peer`: holds a connection until it is killed, or the lab has ended.
pub(super) fn be(args: &Peer) -> io::Result<()> {
    // Also while it is stopped.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let stream = TcpStream::connect(args.address)?;
    if args.abrupt {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    let mut out = io::stdout();
    writeln!(out, "{}", stream.local_addr()?)?;
    out.flush()?;
    let _session = match args.beat {
        true => Some(Session::accept(stream.try_clone()?, &config().id("peer"))?),
        false => None,
    };
    // Its standard input ends with the lab.
    io::copy(&mut io::stdin().lock(), &mut io::sink()).map(drop)
}
