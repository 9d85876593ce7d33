//! A blocking session as a byte stream.

use std::io::{self, Read, Write};

use super::Session;

/// A session read and written as a stream of bytes; the borders of messages dissolve.
///
/// The end of the peer's messages is the end of file; dropping it says goodbye. It is made by
/// [`Session::into_stream`].
#[derive(Debug)]
pub struct SessionStream {
    session: Session,
    /// What was received and not yet read, and where it begins.
    message: Vec<u8>,
    start: usize,
}

impl SessionStream {
    pub(super) const fn new(session: Session) -> Self {
        Self { session, message: Vec::new(), start: 0 }
    }

    /// The session.
    pub const fn session(&self) -> &Session {
        &self.session
    }
}

impl Read for SessionStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // An empty message is none here: it would look like the end.
        while self.start == self.message.len() {
            match self.session.recv()? {
                Some(message) => (self.message, self.start) = (message, 0),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.message.len() - self.start);
        buffer[..length].copy_from_slice(&self.message[self.start..self.start + length]);
        self.start += length;
        Ok(length)
    }
}

impl Write for SessionStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.session.max_message());
        if length > 0 {
            self.session.send(&bytes[..length])?;
        }
        Ok(length)
    }

    /// The session's thread writes by itself.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
