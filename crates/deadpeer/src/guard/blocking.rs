//! Reading and writing as std does.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use deadpeer_os::AsSock;

use super::Guarded;
use super::memory::Memory;

/// Where the stream is borrowed mutably, no other call can be about to remember an error.
const ALONE: Duration = Duration::ZERO;

impl<S: AsSock> Guarded<S> {
    #[inline]
    fn told(&self, read: io::Result<usize>, wanted: usize, grace: Duration) -> io::Result<usize> {
        match read {
            Ok(0) if wanted > 0 => self.memory.at_end_of_file(self.get_ref().as_sock(), grace),
            Ok(length) => Ok(length),
            Err(error) => Err(self.explain(error, grace)),
        }
    }
}

impl<S: Read + AsSock> Read for Guarded<S> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.get_mut().read(buffer);
        self.told(read, buffer.len(), ALONE)
    }

    #[inline]
    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        let read = self.get_mut().read_vectored(buffers);
        self.told(read, wanted, ALONE)
    }
}

impl<S: Write + AsSock> Write for Guarded<S> {
    #[inline]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.get_mut().write(buffer).map_err(|error| self.explain(error, ALONE))
    }

    #[inline]
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.get_mut().write_vectored(buffers).map_err(|error| self.explain(error, ALONE))
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        self.get_mut().flush().map_err(|error| self.explain(error, ALONE))
    }
}

/// As std: several threads read and write through shared references.
impl Read for &Guarded<TcpStream> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.get_ref().read(buffer);
        self.told(read, buffer.len(), Memory::GRACE)
    }

    #[inline]
    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        let read = self.get_ref().read_vectored(buffers);
        self.told(read, wanted, Memory::GRACE)
    }
}

impl Write for &Guarded<TcpStream> {
    #[inline]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.get_ref().write(buffer).map_err(|error| self.explain(error, Memory::GRACE))
    }

    #[inline]
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.get_ref().write_vectored(buffers).map_err(|error| self.explain(error, Memory::GRACE))
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        self.get_ref().flush().map_err(|error| self.explain(error, Memory::GRACE))
    }
}

impl Guarded<TcpStream> {
    /// Looks at what came without taking it, as [`TcpStream::peek`] does.
    ///
    /// # Errors
    /// Of recv(2), with a [`PeerLost`](crate::PeerLost) in it where the connection has ended.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.told(self.get_ref().peek(buffer), buffer.len(), Memory::GRACE)
    }
}
