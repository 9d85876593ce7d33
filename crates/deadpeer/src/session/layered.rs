//! A stream over a socket.

use std::io::{self, Read, Write};

use deadpeer_os::{AsSock, BorrowedSock};

/// A stream of which the session's thread must know the socket below: TLS over TCP, for example.
///
/// The thread waits for the socket, reads and writes the stream, and asks the kernel about the socket. Bytes that
/// arrive at the socket are signs of life, also if the stream has nothing to read yet.
///
/// The socket is a duplicate (`TcpStream::try_clone`) of what the stream owns.
///
/// ```no_run
/// # struct Tls<S>(S); // as rustls::StreamOwned
/// # impl<S: std::io::Read> std::io::Read for Tls<S> { fn read(&mut self, b: &mut [u8]) -> std::io::Result<usize> { self.0.read(b) } }
/// # impl<S: std::io::Write> std::io::Write for Tls<S> {
/// #     fn write(&mut self, b: &[u8]) -> std::io::Result<usize> { self.0.write(b) }
/// #     fn flush(&mut self) -> std::io::Result<()> { self.0.flush() }
/// # }
/// # fn handshake(tcp: std::net::TcpStream) -> std::io::Result<Tls<std::net::TcpStream>> { Ok(Tls(tcp)) }
/// use std::net::TcpStream;
/// use deadpeer::session::{Config, Layered, Session};
/// # let policy = deadpeer::Policy::detect(std::time::Duration::from_secs(9)).build()?;
///
/// let tcp = TcpStream::connect("db.example:7433")?;
/// let socket = tcp.try_clone()?;
/// let tls = handshake(tcp)?; // such as rustls::StreamOwned
/// let session = Session::connect(Layered::new(tls, socket), &Config::keeping(&policy)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Layered<S, K> {
    stream: S,
    socket: K,
}

impl<S, K: AsSock> Layered<S, K> {
    /// `stream` runs over `socket`.
    pub const fn new(stream: S, socket: K) -> Self {
        Self { stream, socket }
    }

    /// The stream.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: Read, K> Read for Layered<S, K> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl<S: Write, K> Write for Layered<S, K> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(unix)]
impl<S, K: AsSock> std::os::fd::AsFd for Layered<S, K> {
    fn as_fd(&self) -> BorrowedSock<'_> {
        self.socket.as_sock()
    }
}

#[cfg(windows)]
impl<S, K: AsSock> std::os::windows::io::AsSocket for Layered<S, K> {
    fn as_socket(&self) -> BorrowedSock<'_> {
        self.socket.as_sock()
    }
}
