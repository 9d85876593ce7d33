//! What a running process has used.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

/// The processor time of all its threads, in user mode and in the kernel.
///
/// To the nanosecond: the sums of `/proc/PID/stat` are in ticks of 10 ms. Those who ended are not in it, so it
/// is for programs whose threads stay.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let mut nanos = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("read {}", tasks.display()))? {
        let path = task.context("read a directory of /proc")?.path().join("schedstat");
        // Its first field is the time on a processor.
        nanos += first_number(&read(path)?).context("schedstat has no number")?;
    }
    Ok(Duration::from_nanos(nanos))
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
