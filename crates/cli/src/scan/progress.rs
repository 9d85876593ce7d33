//! A bar for those who wait at a terminal.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows itself when the work takes longer than a second.
#[derive(Debug)]
pub(super) struct Progress {
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    const PATIENCE: Duration = Duration::from_secs(1);
    /// Who has not answered by then is silent, and waits for its proof.
    const SILENT: Duration = Duration::from_secs(4);

    pub(super) fn new() -> Self {
        Self { since: Instant::now(), bar: None }
    }

    pub(super) fn tell(&mut self, done: usize, total: usize) {
        if self.bar.is_none() && self.since.elapsed() >= Self::PATIENCE && stderr().is_terminal() {
            let bar = ProgressBar::new(total as u64);
            if let Ok(style) = ProgressStyle::with_template("asking peers {bar:30} {pos} of {len}{msg}") {
                bar.set_style(style);
            }
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            if done < total && self.since.elapsed() >= Self::SILENT {
                bar.set_message(format!("; {} silent, asked for 10 s to 30 s", total - done));
            }
        }
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
