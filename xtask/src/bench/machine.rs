//! The machine on which something was measured.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

/// Figures mean little without it.
#[derive(Debug)]
pub(super) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    ss: String,
    date: String,
}

impl Machine {
    pub(super) fn this() -> Self {
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "an unknown CPU".into()),
            cores: available_parallelism().map_or(1, usize::from),
            memory_gib: rustix::system::sysinfo().totalram.div_ceil(1 << 30),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            ss: output("ss", "-V").unwrap_or_else(|| "no ss".into()),
            date: output("date", "+%F").unwrap_or_else(|| "an unknown day".into()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, memory_gib, kernel, ss, date } = self;
        write!(f, "{cpu}, {cores} cores, {memory_gib} GiB; Linux {kernel}; {ss}; {date}")
    }
}

/// The value after the first "name :" in a file of /proc.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn output(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
