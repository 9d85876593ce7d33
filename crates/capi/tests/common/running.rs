//! Programs that run on the hosts of a network, and what they say of silence.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use deadpeer_lab::{Network, Place, Program};

/// Detect within so many seconds, survive so many.
pub(crate) const GOALS: [&str; 2] = ["6", "1"];

/// A program that runs on a host of the network, and its lines.
pub(crate) struct Running {
    pub(crate) program: Program,
    lines: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn on(network: &Network, place: Place, command: &mut Command) -> Self {
        Self::of(network.spawn(place, command.stdout(Stdio::piped())).unwrap())
    }

    /// A program whose standard output is a pipe.
    pub(crate) fn of(mut program: Program) -> Self {
        let lines = BufReader::new(program.stdout.take().unwrap());
        Self { program, lines }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the program ended: {:?}", self.program.wait());
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        line
    }

    /// The port of "listening on PORT".
    pub(crate) fn port(&mut self) -> u16 {
        let line = self.line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).parse().unwrap()
    }
}

/// As [`checked_within`], for programs with [`GOALS`].
pub(crate) fn checked(line: &str, program: &str, cut: Instant) -> String {
    checked_within(line, program, cut, 6.0)
}

/// "… lost after 6.2 s of silence, predicted 5.0 to 6.1 s: the peer …": what was measured is what was predicted.
/// Returns the explanation.
pub(crate) fn checked_within(line: &str, program: &str, cut: Instant, promise: f64) -> String {
    #[allow(clippy::print_stdout, reason = "the measured time beside the prediction")]
    {
        println!("{program}: {line}");
    }
    let (_, line) = line.split_once("lost after ").unwrap_or_else(|| panic!("{line}"));
    let (measured, line) = line.split_once(" s of silence, predicted ").unwrap();
    let (least, line) = line.split_once(" to ").unwrap();
    let (most, explanation) = line.split_once(" s: ").unwrap();
    let [measured, least, most] = [measured, least, most].map(|number| number.parse::<f64>().unwrap());
    assert!(2.0 < least && least <= most && most <= promise, "{promise} s are promised: {least} to {most}");
    // Early is wrong; late may be a busy machine.
    assert!(least - 0.1 <= measured && measured <= most + 2.0, "{measured} s, predicted {least} to {most} s");
    assert!(cut.elapsed() < Duration::from_secs_f64(most + 3.0), "{:?} after the cut", cut.elapsed());
    explanation.to_owned()
}
