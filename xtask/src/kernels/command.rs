//! Running other programs so that an interruption ends them, too.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether this program was asked to end.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT, SIGTERM and SIGHUP are noted instead of ending this program at once, so that it
    /// can end its children and remove its files.
    pub(super) fn catch() -> Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&came)).context("catch signals")?;
        }
        Ok(Self(came))
    }

    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self(Arc::default())
    }

    #[cfg(test)]
    pub(super) fn at_once() -> Self {
        Self(Arc::new(true.into()))
    }
}

/// A child that is killed and waited for when it is dropped.
#[derive(Debug)]
pub(super) struct Kept(pub(super) Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _already_ended = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` to its end and gives what it wrote to stdout. Its failure is an error with its stderr.
pub(super) fn output(command: &mut Command, interrupt: &Interrupt) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Kept(command.spawn().with_context(|| format!("start {name}"))?);
    let stdout = read_all(child.0.stdout.take());
    let stderr = read_all(child.0.stderr.take());
    let status = wait(&mut child, interrupt)?;
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    if !status.success() {
        let why: Vec<_> = stderr.lines().chain(stdout.lines()).filter(|line| !line.is_empty()).collect();
        let last = why.get(why.len().saturating_sub(12)..).unwrap_or_default();
        bail!("{name}: {status}: {}", last.join("\n"));
    }
    Ok(stdout)
}

fn read_all(from: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What was read until the error is still worth printing.
            let _ = from.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn wait(child: &mut Kept, interrupt: &Interrupt) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.0.try_wait()? {
            return Ok(status);
        }
        if interrupt.came() {
            bail!("interrupted");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
