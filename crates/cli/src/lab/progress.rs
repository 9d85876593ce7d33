//! How far a run is, on a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Lab;
use super::fault::Fault;
use super::method::Method;

/// A bar that moves with time: what the longest cell takes is known before.
pub(super) struct Progress {
    bar: ProgressBar,
    over: Arc<AtomicBool>,
}

impl Progress {
    pub(super) fn start(args: &Lab, usual: Duration) -> Self {
        let batches = u64::from(args.runs.get()).div_ceil(4);
        let expected = usual.as_secs() * batches;
        let bar = ProgressBar::with_draw_target(Some(expected * 10), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(format!("{} faults, {} methods, all at once", Fault::ALL.len(), Method::ALL.len()));
        let over = Arc::new(AtomicBool::new(false));
        let (moving, ended) = (bar.clone(), Arc::clone(&over));
        let started = Instant::now();
        // It ends with the process at the latest.
        let _ = thread::Builder::new().name("progress".into()).spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                moving.set_position(u64::try_from(started.elapsed().as_millis() / 100).unwrap_or(u64::MAX));
                thread::sleep(Duration::from_millis(200));
            }
        });
        Self { bar, over }
    }

    pub(super) fn clear(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.bar.finish_and_clear();
    }
}
