//! A child process that ends with its owner.

use std::ops::{Deref, DerefMut};
use std::process::Child;

/// A child process that is killed, and waited for, when dropped; else it is a [`Child`].
#[derive(Debug)]
pub struct Program(Child);

impl From<Child> for Program {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Deref for Program {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
