//! `deadpeer lab prove`: a fault on the connection of any program, and how long that takes to notice.

use std::error::Error;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::host::{Connection, Filter, Scan};
use deadpeer::{Known, Span, TcpState};
use deadpeer_lab::{Foreign, Program};
use rustix::process::{Pid, Signal, kill_process};

use super::args::{Prove, Shock};
use super::shock::Fault;
use crate::exit::Ended;
use crate::signals;

/// The program must connect within this.
const CONNECTS: Duration = Duration::from_secs(30);
/// How often its connections are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What it does next is watched for so long.
const NEXT: Duration = Duration::from_secs(2);

/// Runs `deadpeer lab prove`.
pub(super) fn run(args: &Prove) -> Result<Ended, Box<dyn Error>> {
    let cancel = signals::cancel()?;
    let addresses: Vec<_> = args
        .on
        .to_socket_addrs()
        .map_err(|error| {
            format!("--on {}: {error}; it is an address and a port, as 127.0.0.1:5432", args.on)
        })?
        .collect();
    if args.fault == Shock::Frozen && !args.touch_peer {
        return Err(
            "frozen stops the process at the far end, with all that it does: allow it with --touch-peer"
                .into(),
        );
    }
    let (program, arguments) = args.command.split_first().ok_or("no program to start")?;
    let started = Command::new(program).args(arguments).spawn();
    let mut child = Program::from(started.map_err(|error| format!("{program} can't be started: {error}"))?);
    let result = prove(args, &addresses, &mut child, &cancel);
    end(&mut child);
    result
}

fn prove(
    args: &Prove,
    addresses: &[SocketAddr],
    child: &mut Child,
    cancel: &AtomicBool,
) -> Result<Ended, Box<dyn Error>> {
    let victim = connected(args, addresses, child, cancel)?;
    let Known::Is(owner) = &victim.owner else { return Err("the connection has no owner".into()) };
    let (peer, cookie) = (victim.row.peer, victim.row.cookie.0);
    let foreign = Foreign::new(owner.process.pid, owner.fd, cookie)
        .map_err(|error| format!("the program's socket can't be reached: {error}"))?;
    say(&format!("{} has connected from {} to {peer}", args.command[0], victim.row.local));

    let fault = Fault::apply(args.fault, &foreign, &victim)?;
    let since = Instant::now();
    say(&format!("now: {}", fault.words()));
    let through = TcpStream::connect_timeout(&peer, Duration::from_secs(1)).is_ok();
    say(if through { "new connections get through" } else { "new connections do not get through" });

    let mut healed = None;
    let given_up = loop {
        if cancel.load(Ordering::Relaxed) {
            return Ok(Ended::Interrupted);
        }
        if let Shock::Outage(length) = args.fault
            && healed.is_none()
            && since.elapsed() >= length
        {
            foreign.undeafen().map_err(|error| format!("the outage can't be healed: {error}"))?;
            healed = Some(Instant::now());
            say("the outage is over");
        }
        let held = connections(addresses)?.iter().any(|connection| {
            connection.row.cookie.0 == cookie && connection.facts().state == TcpState::Established
        });
        if !held || child.try_wait()?.is_some() {
            break Some(since.elapsed());
        }
        // An outage has to be survived for as long again.
        let enough = match args.fault {
            Shock::Outage(length) => length + args.within,
            _ => args.within + args.within / 2,
        };
        if since.elapsed() >= enough {
            break None;
        }
        thread::sleep(LOOK);
    };
    let next = if given_up.is_some() { next(addresses, child, cookie, cancel)? } else { String::new() };
    drop(fault);
    Ok(judge(args, given_up, since.elapsed(), &next))
}

/// Tells the result, and whether it is what was to be proven.
fn judge(args: &Prove, given_up: Option<Duration>, watched: Duration, next: &str) -> Ended {
    let name = &args.command[0];
    let within = Span(args.within);
    match (given_up, args.fault) {
        (None, Shock::Outage(_)) => {
            say(&format!("PROVEN: {name} survived the outage: the connection lives"));
            Ended::Well
        }
        (Some(after), Shock::Outage(_)) => {
            say(&format!("NOT PROVEN: {name} gave a healthy connection up after {}{next}", Span(after)));
            Ended::Found
        }
        (Some(after), _) if after <= args.within => {
            say(&format!("PROVEN: {name} noticed after {} (within {within}){next}", Span(after)));
            Ended::Well
        }
        (Some(after), _) => {
            say(&format!(
                "NOT PROVEN: {name} noticed only after {} (not within {within}){next}",
                Span(after)
            ));
            Ended::Found
        }
        (None, _) => {
            let watched = Span(watched);
            say(&format!("NOT PROVEN: {name} still waits after {watched} (not within {within})"));
            Ended::Found
        }
    }
}

/// Waits until the program, or a child of it, is connected.
fn connected(
    args: &Prove,
    addresses: &[SocketAddr],
    child: &mut Child,
    cancel: &AtomicBool,
) -> Result<Connection, Box<dyn Error>> {
    let started = Instant::now();
    loop {
        let root = child.id();
        let ours = |connection: &Connection| match &connection.owner {
            Known::Is(owner) => descends(owner.process.pid, root),
            Known::Not(_) => false,
        };
        let found = connections(addresses)?
            .into_iter()
            .find(|connection| connection.facts().state == TcpState::Established && ours(connection));
        if let Some(found) = found {
            // Let it say what it says first: a greeting, a login.
            thread::sleep(args.after);
            return Ok(found);
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!(
                "{} ended ({status}) before it was connected to {}",
                args.command[0], args.on
            )
            .into());
        }
        if cancel.load(Ordering::Relaxed) {
            return Err("interrupted before the program was connected".into());
        }
        if started.elapsed() >= CONNECTS {
            let waited = Span(CONNECTS);
            return Err(format!("{} did not connect to {} within {waited}", args.command[0], args.on).into());
        }
        thread::sleep(LOOK);
    }
}

/// This machine's connections to one of the addresses.
fn connections(addresses: &[SocketAddr]) -> Result<Vec<Connection>, Box<dyn Error>> {
    let mut terms: Vec<_> = addresses.iter().map(|address| format!("peer:{}", address.ip())).collect();
    terms.extend(addresses.iter().map(|address| format!("port:{}", address.port())));
    let report = Scan::new().filter(Filter::parse(terms)?).settings(false).run()?;
    let all = report.findings().into_iter().map(|finding| finding.connection.clone());
    Ok(all.filter(|connection| addresses.contains(&connection.row.peer)).collect())
}

/// What the program does after it has given the connection up.
fn next(
    addresses: &[SocketAddr],
    child: &mut Child,
    cookie: u64,
    cancel: &AtomicBool,
) -> Result<String, Box<dyn Error>> {
    let since = Instant::now();
    let mut connecting = false;
    while since.elapsed() < NEXT && !cancel.load(Ordering::Relaxed) {
        if let Some(status) = child.try_wait()? {
            return Ok(format!(", and ended ({})", ended(status)));
        }
        for connection in connections(addresses)? {
            let Known::Is(owner) = &connection.owner else { continue };
            if connection.row.cookie.0 == cookie || !descends(owner.process.pid, child.id()) {
                continue;
            }
            match connection.facts().state {
                TcpState::Established => return Ok(", and connected again".to_owned()),
                TcpState::SynSent => connecting = true,
                _ => {}
            }
        }
        thread::sleep(LOOK);
    }
    Ok(if connecting { ", and tries to connect again" } else { ", and runs on without a connection" }
        .to_owned())
}

fn ended(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
}

/// A process and all that descend from it, as far as they are to be seen.
fn descendants(root: u32) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| descends(*pid, root))
        .filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
        .collect()
}

/// Whether `pid` is `ancestor` or was started by it.
fn descends(mut pid: u32, ancestor: u32) -> bool {
    while pid != ancestor && pid > 1 {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let Some(parent) = parent.and_then(|parent| parent.trim().parse().ok()) else { return false };
        pid = parent;
    }
    pid == ancestor
}

/// Ends the program, with all that it has started: it was started for the proof.
fn end(child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(1);
    if matches!(child.try_wait(), Ok(None)) {
        for pid in descendants(child.id()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(LOOK / 5);
        }
    }
}

/// The program has stdout for itself.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "deadpeer: {text}");
}
