//! QEMU: boots a guest, listens to it, and ends it in time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::command::{Interrupt, Kept, output};
use super::guest::Guest;

const PROGRAM: &str = "qemu-system-x86_64";
const MEMORY_MIB: &str = "1536";

/// The emulator.
#[derive(Debug)]
pub(super) struct Machine {
    program: PathBuf,
}

/// What a guest has printed, and how it ended.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) lines: Vec<String>,
    pub(super) end: End,
}

/// How a guest ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has run all checks.
    Done,
    /// It took longer than it may.
    OutOfTime(Duration),
    /// It ended before it was done: these are its kernel's last messages.
    Died(String),
}

impl Machine {
    pub(super) fn find(interrupt: &Interrupt) -> Result<Self> {
        output(Command::new(PROGRAM).arg("--version"), interrupt)
            .context("apt-get install qemu-system-x86")?;
        Ok(Self { program: PROGRAM.into() })
    }

    /// Boots `guest` and waits for its end, `limit` at most.
    pub(super) fn boot(
        &self,
        guest: &Guest,
        limit: Duration,
        append: &str,
        interrupt: &Interrupt,
    ) -> Result<Run> {
        // A console of the kernel before would be taken for this one's.
        fs::write(&guest.console, "").with_context(|| format!("write {}", guest.console.display()))?;
        // setpriv: QEMU must not outlive this program, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nice", "-n", "10"]).arg(&self.program);
        // Instructions are the clock and idle time is skipped: a loaded machine does not make the guest late.
        // More than one processor hangs with that.
        command.args(["-accel", "tcg", "-cpu", "max", "-icount", "shift=1,sleep=off", "-smp", "1"]);
        command.args(["-M", "pc", "-m", MEMORY_MIB, "-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-no-reboot", "-net", "none", "-serial"]);
        command.arg(format!("file:{}", guest.console.display())).args(["-serial", "stdio", "-kernel"]);
        command.arg(&guest.image).arg("-initrd").arg(&guest.initramfs).arg("-append");
        command.arg(format!(
            "console=ttyS0 quiet panic=-1 oops=panic mitigations=off random.trust_cpu=on {append}"
        ));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut qemu = Kept(command.spawn().context("start setpriv (util-linux) with QEMU")?);
        let stdout = qemu.0.stdout.take().context("QEMU's output")?;
        let (sender, receiver) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + limit;
        let mut lines = Vec::new();
        let in_time = loop {
            match receiver.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    if let Some(name) = line.strip_prefix("\u{1e}begin ") {
                        eprintln!("  {name} …");
                    }
                    lines.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => break true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if interrupt.came() {
                bail!("interrupted");
            }
            if Instant::now() >= deadline {
                break false;
            }
        };
        let mut errors = qemu.0.stderr.take();
        drop(qemu);
        lines.extend(receiver);
        let _ = reader.join();
        let end = if lines.iter().any(|line| line == "\u{1e}done") {
            End::Done
        } else if !in_time {
            End::OutOfTime(limit)
        } else {
            let mut said = String::new();
            if let Some(errors) = &mut errors {
                let _ = std::io::Read::read_to_string(errors, &mut said);
            }
            let console = fs::read(&guest.console).unwrap_or_default();
            let console = String::from_utf8_lossy(&console);
            End::Died(last_words(console.lines().chain(said.lines())))
        };
        Ok(Run { lines, end })
    }
}

/// From where the kernel says that something is wrong; the end, if it does not.
fn last_words<'l>(lines: impl Iterator<Item = &'l str>) -> String {
    let lines: Vec<_> = lines.filter(|line| !line.trim().is_empty()).collect();
    let is_wrong = |line: &&str| ["Kernel panic", "BUG: ", "Oops: "].iter().any(|word| line.contains(word));
    let from = lines.iter().position(is_wrong).unwrap_or(lines.len().saturating_sub(15));
    lines.iter().skip(from).take(30).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A machine whose emulator is a shell script, and a guest for it.
    fn stand_in(name: &str, script: &str) -> (Machine, Guest, PathBuf) {
        let folder = std::env::temp_dir().join(format!("deadpeer-kernels-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("qemu");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name| folder.join(name);
        let guest = Guest { image: path("image"), initramfs: path("initramfs"), console: path("console") };
        (Machine { program }, guest, folder)
    }

    fn boot(name: &str, script: &str, limit: Duration) -> Run {
        let (machine, guest, folder) = stand_in(name, script);
        let run = machine.boot(&guest, limit, "", &Interrupt::never()).unwrap();
        fs::remove_dir_all(folder).unwrap();
        run
    }

    #[test]
    fn a_guest_that_is_done_is_done() {
        let run = boot("done", r"printf 'hello\n\036done\n'", Duration::from_secs(20));
        assert_eq!(run.end, End::Done);
        assert_eq!(run.lines, ["hello", "\u{1e}done"]);
    }

    #[test]
    fn a_guest_that_panics_shows_its_kernels_last_messages() {
        let folder = r#"for a; do case $a in file:*) printf '[0.1] hello\n[0.2] Kernel panic - not syncing\n' >"${a#file:}";; esac; done"#;
        let run = boot("panic", &format!("{folder}; echo half; echo qemu says >&2"), Duration::from_secs(20));
        assert_eq!(run.lines, ["half"]);
        assert_eq!(run.end, End::Died("[0.2] Kernel panic - not syncing\nqemu says".into()));
    }

    #[test]
    fn a_guest_that_hangs_is_ended_and_what_it_said_is_kept() {
        let began = Instant::now();
        let run = boot("hang", "echo half; exec sleep 100", Duration::from_millis(500));
        assert_eq!(run.end, End::OutOfTime(Duration::from_millis(500)));
        assert_eq!(run.lines, ["half"]);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}
