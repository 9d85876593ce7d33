//! Reading and writing as std does.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;

use deadpeer_os::AsSock;

use super::Guarded;

impl<S: AsSock> Guarded<S> {
    #[inline]
    fn told(&self, read: io::Result<usize>, wanted: usize) -> io::Result<usize> {
        match read {
            Ok(0) if wanted > 0 => self.at_end_of_file(),
            Ok(length) => Ok(length),
            Err(error) => Err(self.explain(error)),
        }
    }
}

impl<S: Read + AsSock> Read for Guarded<S> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        self.told(read, buffer.len())
    }

    #[inline]
    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        let read = self.inner.read_vectored(buffers);
        self.told(read, wanted)
    }
}

impl<S: Write + AsSock> Write for Guarded<S> {
    #[inline]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.inner.write(buffer).map_err(|error| self.explain(error))
    }

    #[inline]
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.inner.write_vectored(buffers).map_err(|error| self.explain(error))
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(|error| self.explain(error))
    }
}

/// As std: several threads read and write through shared references.
impl Read for &Guarded<TcpStream> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&self.inner).read(buffer);
        self.told(read, buffer.len())
    }

    #[inline]
    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        let read = (&self.inner).read_vectored(buffers);
        self.told(read, wanted)
    }
}

impl Write for &Guarded<TcpStream> {
    #[inline]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&self.inner).write(buffer).map_err(|error| self.explain(error))
    }

    #[inline]
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.inner).write_vectored(buffers).map_err(|error| self.explain(error))
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        (&self.inner).flush().map_err(|error| self.explain(error))
    }
}

impl Guarded<TcpStream> {
    /// Looks at what came without taking it, as [`TcpStream::peek`] does.
    ///
    /// # Errors
    /// Of recv(2), with a [`PeerLost`](crate::PeerLost) in it where the connection has ended.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.told(self.inner.peek(buffer), buffer.len())
    }
}
