//! A process that hangs.

use std::io;
use std::process::Child;

#[cfg(windows)]
use deadpeer_os::windows::process::{Suspended, suspend};
#[cfg(unix)]
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Stops a child (SIGSTOP; on Windows each of its threads, by SuspendThread) until the guard is dropped, and
/// returns once it has stopped.
///
/// Its connections stay, and its kernel goes on acknowledging what they receive: no option of TCP notices a
/// hung process. Only a child of our own can be frozen: any other process id may by now be somebody else's.
///
/// # Errors
/// `NotFound` if the child has ended; else of kill(2) and waitid(2), on Windows of OpenThread and SuspendThread.
pub fn freeze(child: &mut Child) -> io::Result<Frozen<'_>> {
    let ended = || io::Error::new(io::ErrorKind::NotFound, "the child to freeze has ended");
    // Until it is waited for, its process id can't become another's; once it was, this says so.
    if child.try_wait()?.is_some() {
        return Err(ended());
    }
    #[cfg(windows)]
    return Ok(Frozen { _threads: suspend(child.id())?, _child: child });
    #[cfg(unix)]
    {
        let pid = Pid::from_child(child);
        kill_process(pid, Signal::STOP)?;
        let frozen = Frozen { child };
        // NOWAIT leaves the exit status to `Child`.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options))?;
        if status.is_some_and(|status| status.stopped()) { Ok(frozen) } else { Err(ended()) }
    }
}

/// A child that is stopped until this is dropped; made by [`freeze`].
#[derive(Debug)]
#[must_use = "dropping it lets the process go on"]
pub struct Frozen<'c> {
    #[cfg(windows)]
    _threads: Suspended,
    #[cfg(windows)]
    _child: &'c mut Child,
    #[cfg(unix)]
    child: &'c mut Child,
}

#[cfg(unix)]
impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // Fails only if it has ended, which nobody can have reaped: the child is borrowed.
        let _ = kill_process(Pid::from_child(self.child), Signal::CONT);
    }
}
