//! A network namespace for one benchmark, and an end of all that ran in it.

use std::fs;
use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, geteuid, getpid, kill_process_group, pidfd_open,
    set_child_subreaper, set_parent_process_death_signal, wait,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::programs::Programs;

/// Runs this command again in a network namespace of its own, until its end or a signal. Nothing that it
/// started is left then.
pub(super) fn run_again(programs: &Programs) -> Result<ExitCode> {
    let signals = signals().context("handle signals")?;
    // Whoever loses its parent becomes a child of this process, which can then reap it.
    set_child_subreaper(Some(getpid())).context("prctl(PR_SET_CHILD_SUBREAPER)")?;

    let this = std::env::current_exe().context("find this executable")?;
    let mut command = Command::new("unshare");
    command.arg(if geteuid().is_root() { "--net" } else { "-Urn" }).arg("--").arg(this);
    command.args(std::env::args_os().skip(1));
    // A process group of its own: a signal to the group reaches all whom the benchmark starts.
    command.stdin(Stdio::null()).process_group(0);
    programs.hand_down(&mut command);
    let child = command.spawn().context("start `unshare` (util-linux)")?;

    let (status, interrupted) = end(child, &signals)?;
    match status.code() {
        _ if interrupted => Ok(ExitCode::from(130)),
        Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        None => anyhow::bail!("the benchmark was killed: {status}"),
    }
}

/// Readable as soon as somebody wants this process to end.
fn signals() -> io::Result<PipeReader> {
    let (reader, writer) = io::pipe()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

/// Waits for the end of `child`, or brings it about if a signal comes; then for the end of its whole group.
/// Says whether a signal came.
fn end(mut child: Child, signals: &PipeReader) -> Result<(ExitStatus, bool)> {
    let group = Pid::from_child(&child);
    let ended = pidfd_open(group, PidfdFlags::empty()).context("pidfd_open")?;
    let mut fds = [
        PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
    ];
    retry_on_intr(|| poll(&mut fds, None)).context("poll")?;
    let interrupted = !fds[1].revents().is_empty();

    // Its leader isn't reaped yet: the number is still that of this group.
    kill_process_group(group, Signal::KILL).context("kill the benchmark's processes")?;
    let status = child.wait().context("wait for the benchmark")?;
    // All others are children of this process by now.
    loop {
        match retry_on_intr(|| wait(WaitOptions::empty())) {
            Ok(_) => {}
            Err(Errno::CHILD) => return Ok((status, interrupted)),
            Err(error) => return Err(error).context("wait for the benchmark's processes"),
        }
    }
}

/// In the namespace: brings its loopback link up, and lets it have as many connections as one could want.
pub(super) fn furnish() -> Result<()> {
    // Should the process outside get killed, so that it can't do it itself.
    set_parent_process_death_signal(Some(Signal::KILL)).context("prctl(PR_SET_PDEATHSIG)")?;
    let status =
        Command::new("ip").args(["link", "set", "lo", "up"]).status().context("start `ip` (iproute2)")?;
    ensure!(status.success(), "`ip link set lo up` failed: {status}");
    // A holder connects to one port of one address: its connections differ by their own ports only.
    set("net/ipv4/ip_local_port_range", "10001 65535")?;
    // A full backlog would drop connections, which come back a second later.
    set("net/core/somaxconn", "65535")?;
    set("net/ipv4/tcp_max_syn_backlog", "65535")
}

fn set(sysctl: &str, value: &str) -> Result<()> {
    fs::write(format!("/proc/sys/{sysctl}"), value)
        .with_context(|| format!("set sysctl {sysctl} to {value:?}"))
}
