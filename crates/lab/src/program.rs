//! A child process that ends with its owner.

use std::ops::{Deref, DerefMut};
#[cfg(windows)]
use std::os::windows::io::AsHandle;
use std::process::Child;

#[cfg(windows)]
use deadpeer_os::windows::process::Job;

/// A child process that is killed, and waited for, when dropped; else it is a [`Child`]. On Windows it also ends
/// when its owner is killed, since it is put into a job.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// None where the child is in a job already that allows no other (before Windows 8).
    #[cfg(windows)]
    _job: Option<Job>,
}

impl From<Child> for Program {
    fn from(child: Child) -> Self {
        #[cfg(windows)]
        let _job = Job::of(child.as_handle()).ok();
        Self {
            child,
            #[cfg(windows)]
            _job,
        }
    }
}

impl Deref for Program {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
