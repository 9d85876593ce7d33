//! JSON lines as soon as they are known: peers that answer do not wait for those that are silent.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use deadpeer::host::Finding;

use super::json;

/// Writes on a thread of its own, so that a slow reader does not delay questions.
pub(super) struct Stream {
    lines: Sender<Vec<u8>>,
    writer: JoinHandle<io::Result<()>>,
    written: BTreeSet<(u64, u64)>,
}

impl Stream {
    pub(super) fn start() -> io::Result<Self> {
        let (lines, received) = channel::<Vec<u8>>();
        let writer = thread::Builder::new().name("rows".into()).spawn(move || {
            let mut out = io::stdout().lock();
            for line in received {
                out.write_all(&line)?;
                out.flush()?;
            }
            Ok(())
        })?;
        Ok(Self { lines, writer, written: BTreeSet::new() })
    }

    pub(super) fn write(&mut self, finding: &Finding<'_>) {
        self.written.insert(identity(finding));
        let mut line = Vec::new();
        json::append(&mut line, finding);
        line.push(b'\n');
        // After an error of the writer nobody receives: it is told at the end.
        let _ = self.lines.send(line);
    }

    /// Waits until all is written, and tells what was.
    pub(super) fn finish(self) -> io::Result<Written> {
        drop(self.lines);
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked")))?;
        Ok(Written(self.written))
    }
}

/// The findings that were written.
pub(super) struct Written(BTreeSet<(u64, u64)>);

impl Written {
    pub(super) fn contains(&self, finding: &Finding<'_>) -> bool {
        self.0.contains(&identity(finding))
    }
}

fn identity(finding: &Finding<'_>) -> (u64, u64) {
    (finding.connection.namespace.inode(), finding.connection.row.cookie.0)
}
