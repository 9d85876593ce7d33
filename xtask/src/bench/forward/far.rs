//! The server at the far end: it swallows or echoes, as a connection's first byte says.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::client::{ECHO, MESSAGE};

/// Swallow or echo until it is killed; prints where it listens.
#[derive(Debug, clap::Args)]
pub(crate) struct Far;

impl Far {
    pub(in crate::bench) fn run(&self) -> Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL)).context("prctl(PR_SET_PDEATHSIG)")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on loopback")?;
        println!("{{\"event\":\"listening\",\"address\":\"{}\"}}", listener.local_addr()?);
        for stream in listener.incoming() {
            let stream = stream.context("accept")?;
            // Who breaks off is looked after at its own end.
            thread::spawn(move || serve(stream));
        }
        Ok(())
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut how = [0];
    stream.read_exact(&mut how)?;
    let mut buffer = vec![0; MESSAGE];
    let mut swallowed = 0u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            length if how[0] == ECHO => stream.write_all(&buffer[..length])?,
            length => swallowed += length as u64,
        }
    }
    // So that who sent it knows that all of it went through.
    if how[0] != ECHO { stream.write_all(&swallowed.to_be_bytes()) } else { Ok(()) }
}
