//! What a running process has used.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::param::clock_ticks_per_second;

/// The processor time of all its threads, in user mode and in the kernel.
///
/// To the nanosecond while its threads stay; of those that have ended only the process's sum knows, which is
/// rounded down to ticks of 10 ms.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    Ok(threads(pid)?.max(sum(pid)?))
}

/// What the threads have used that there are now (`schedstat`: its first field is the time on a processor).
fn threads(pid: u32) -> Result<Duration> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let mut nanos = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("read {}", tasks.display()))? {
        let path = task.context("read a directory of /proc")?.path().join("schedstat");
        match fs::read_to_string(&path) {
            Ok(text) => nanos += first_number(&text).context("schedstat has no number")?,
            // It has ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// What the process has used with all threads that it ever had: `utime` and `stime`, proc_pid_stat(5).
fn sum(pid: u32) -> Result<Duration> {
    let text = read(format!("/proc/{pid}/stat").into())?;
    // Before the last parenthesis stands a name, in which there may be anything.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}

/// The bytes that it has resident.
///
/// Not from `statm`: its counters may lag behind by some pages a processor.
pub(super) fn resident(pid: u32) -> Result<u64> {
    let text = read(format!("/proc/{pid}/smaps_rollup").into())?;
    let kibibytes = text.lines().find_map(|line| first_number(line.strip_prefix("Rss:")?));
    Ok(kibibytes.context("smaps_rollup has no Rss")? * 1024)
}

fn read(path: PathBuf) -> Result<String> {
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use super::*;

    #[test]
    fn threads_that_have_ended_count() {
        let pid = std::process::id();
        let before = sum(pid).unwrap();
        let burn = || {
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(200) {
                black_box(&started);
            }
        };
        std::thread::spawn(burn).join().unwrap();
        assert!(cpu(pid).unwrap() > before);
        assert!(sum(pid).unwrap() > before);
    }

    #[test]
    fn what_this_process_uses_is_seen() {
        let pid = std::process::id();
        let (cpu_before, resident_before) = (cpu(pid).unwrap(), resident(pid).unwrap());
        let memory = black_box(vec![1u8; 32 << 20]);
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(50) {
            black_box(&memory);
        }
        assert!(cpu(pid).unwrap() > cpu_before);
        assert!(resident(pid).unwrap() > resident_before + (16 << 20));
    }
}
