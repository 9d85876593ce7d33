//! What a program costs: time, processor, memory.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wait4::Wait4;

/// What one run of a program cost.
#[derive(Debug, Clone, Copy)]
struct Run {
    wall: Duration,
    /// Of all its threads, in user mode and in the kernel.
    cpu: Duration,
    /// In bytes. Not below the resident size of this process: between vfork(2) and execve(2) a child
    /// counts as that large.
    peak_memory: u64,
}

/// What several runs of a program cost.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Run>);

impl Samples {
    /// Runs the program once more.
    pub(super) fn add(&mut self, command: &mut Command, stdout: Stdio) -> Result<()> {
        let start = Instant::now();
        let mut child = spawn(command.stdout(stdout).stderr(Stdio::null()))?;
        // Not the child's own `wait`: only wait4(2) tells what that very child used.
        let ended = child.wait4().with_context(|| format!("wait4 for {command:?}"))?;
        let wall = start.elapsed();
        check(command, ended.status)?;
        let usage = ended.rusage;
        self.0.push(Run { wall, cpu: usage.utime + usage.stime, peak_memory: usage.maxrss });
        Ok(())
    }

    /// Whether it never ran.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often it ran.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The median, the shortest and the longest time.
    pub(super) fn wall(&self) -> Option<[Duration; 3]> {
        let sorted = self.sorted(|run| run.wall);
        Some([median(&sorted)?, *sorted.first()?, *sorted.last()?])
    }

    /// The median of the processor time.
    pub(super) fn cpu(&self) -> Option<Duration> {
        median(&self.sorted(|run| run.cpu))
    }

    /// The most bytes that any run had in memory at once.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        self.0.iter().map(|run| run.peak_memory).max()
    }

    fn sorted(&self, time: impl FnMut(&Run) -> Duration) -> Vec<Duration> {
        let mut times: Vec<_> = self.0.iter().map(time).collect();
        times.sort_unstable();
        times
    }
}

/// Of an even number, the upper one of those in the middle.
fn median(sorted: &[Duration]) -> Option<Duration> {
    sorted.get(sorted.len() / 2).copied()
}

/// Runs a program and counts the lines that it prints: to see that it does what it is measured for.
pub(super) fn count_lines(command: &mut Command) -> Result<usize> {
    let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::inherit()))?;
    let mut lines = 0;
    if let Some(mut stdout) = child.stdout.take() {
        // Not all at once: a large heap here would be taken for that of the programs measured later.
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match stdout.read(&mut chunk).with_context(|| format!("read from {command:?}"))? {
                0 => break,
                length => lines += chunk[..length].iter().filter(|&&byte| byte == b'\n').count(),
            }
        }
    }
    let status = child.wait().with_context(|| format!("wait for {command:?}"))?;
    check(command, status)?;
    Ok(lines)
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.stdin(Stdio::null()).spawn().with_context(|| format!("start {command:?}"))
}

/// 1 is no failure: `deadpeer scan` may say by it that it found something.
fn check(command: &Command, status: ExitStatus) -> Result<()> {
    match status.code() {
        Some(0 | 1) => Ok(()),
        _ => bail!("{command:?} failed ({status}): what it took means nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_measured_and_a_failed_one_refused() {
        let mut samples = Samples::default();
        samples.add(Command::new("sleep").arg("0.05"), Stdio::null()).unwrap();
        let [median, shortest, longest] = samples.wall().unwrap();
        assert!(median >= Duration::from_millis(50) && (median, median) == (shortest, longest));
        // It slept, and so used no processor to speak of.
        assert!(samples.cpu().unwrap() < median && samples.peak_memory().unwrap() > 0);

        let error = samples.add(Command::new("sh").args(["-c", "exit 2"]), Stdio::null()).unwrap_err();
        assert!(error.to_string().contains("exit status: 2"), "{error}");
        assert_eq!(samples.len(), 1);
    }

    #[test]
    fn lines_are_counted() {
        assert_eq!(count_lines(Command::new("seq").arg("70000")).unwrap(), 70_000);
    }
}
