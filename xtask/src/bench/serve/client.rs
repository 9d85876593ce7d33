//! One client of a server: a connection on which it beats and reads what comes back.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use deadpeer_core::session::{Frame, Head, Hello, Offer};
use rustix::net::sockopt::set_socket_linger;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// How the clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::bench) enum Speech {
    /// A byte, which is answered with a byte
    Byte,
    /// The session protocol; each heartbeat is a PING, which is answered
    Ping,
    /// The session protocol; each sixth heartbeat is a PING, the others are BEATs
    Beat,
}

/// Every sixth heartbeat is a PING, as the protocol says.
const MEASURE_EVERY: u8 = 6;
/// A client whose heartbeats are all PINGs needs no BEATs of the server besides the PONGs.
const SELDOM: Duration = Duration::from_secs(60);

/// What all clients of a generator have in common.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) to: SocketAddr,
    pub(super) speech: Speech,
    pub(super) interval: Duration,
    tls: Option<Arc<ClientConfig>>,
}

impl Kind {
    /// With a certificate in `root` (PEM) the connections are TLS.
    pub(super) fn new(
        to: SocketAddr,
        speech: Speech,
        interval: Duration,
        root: Option<&Path>,
    ) -> Result<Self> {
        Ok(Self { to, speech, interval, tls: root.map(trust).transpose()? })
    }

    fn hello(&self) -> Option<Hello<'static>> {
        let hear = match self.speech {
            Speech::Byte => return None,
            // Its PONGs stand for the server's beats.
            Speech::Ping => SELDOM,
            Speech::Beat => self.interval,
        };
        let patience = Duration::from_secs(24 * 60 * 60);
        Some(Hello::new(Offer::new(self.interval, hear, patience)))
    }
}

fn trust(root: &Path) -> Result<Arc<ClientConfig>> {
    use rustls::pki_types::pem::PemObject;
    let pem = fs::read(root).with_context(|| format!("read {}", root.display()))?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).context("read the server's certificate")?)?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// So many answers and beats.
    Answers(u64),
    /// The server has closed the connection.
    Closed,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    speech: Speech,
    /// The beginning of a frame whose end is still to come.
    rest: Vec<u8>,
    /// It may speak: the server has greeted, where it does.
    greeted: bool,
    /// The server's question that is to be answered.
    asked: Option<u32>,
    beats: u8,
    /// When it beat last.
    pub(super) beat_at: Instant,
}

impl Client {
    /// Connects and greets. Of all clients, those with one `number` in six begin with the same beat.
    pub(super) fn connect(kind: &Kind, number: usize) -> Result<Self> {
        let stream = TcpStream::connect(kind.to).with_context(|| format!("connect to {}", kind.to))?;
        stream.set_nodelay(true)?;
        // At its end nothing is to stay behind in TIME_WAIT.
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        let mut tls = None;
        if let Some(config) = &kind.tls {
            let mut connection =
                ClientConnection::new(Arc::clone(config), ServerName::IpAddress(kind.to.ip().into()))?;
            while connection.is_handshaking() {
                connection.complete_io(&mut &stream).context("the TLS handshake")?;
            }
            tls = Some(Box::new(connection));
        }
        stream.set_nonblocking(true)?;
        let mut client = Self {
            stream,
            tls,
            speech: kind.speech,
            rest: Vec::new(),
            greeted: kind.speech == Speech::Byte,
            asked: None,
            beats: (number % usize::from(MEASURE_EVERY)) as u8,
            beat_at: Instant::now(),
        };
        if let Some(hello) = kind.hello() {
            let mut bytes = Vec::with_capacity(16);
            Frame::Hello(hello).encode(&mut bytes);
            client.write(&bytes).context("greet the server")?;
        }
        Ok(client)
    }

    /// Whether the server has greeted, as far as it does.
    pub(super) fn greeted(&self) -> bool {
        self.greeted
    }

    /// Beats; `false` if it may not yet, since the server has not greeted.
    pub(super) fn beat(&mut self) -> io::Result<bool> {
        if !self.greeted {
            return Ok(false);
        }
        let mut bytes = Vec::with_capacity(16);
        if let Some(token) = self.asked.take() {
            Frame::Pong { token }.encode(&mut bytes);
        }
        let asks = self.beats == 0;
        match self.speech {
            Speech::Byte => bytes.push(1),
            Speech::Beat if !asks => Frame::Beat.encode(&mut bytes),
            Speech::Ping | Speech::Beat => Frame::Ping { token: 1 }.encode(&mut bytes),
        }
        self.beats = (self.beats + 1) % MEASURE_EVERY;
        self.write(&bytes)?;
        self.beat_at = Instant::now();
        Ok(true)
    }

    /// Reads what has come back. That may wait until the next beat: who isn't waiting costs its peer no wake-up.
    pub(super) fn hear(&mut self) -> Result<Heard> {
        let mut buffer = [0; 512];
        let mut answers = 0;
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(Heard::Closed),
                Ok(length) if self.speech == Speech::Byte => answers += length as u64,
                Ok(length) => {
                    self.rest.extend_from_slice(&buffer[..length]);
                    match self.understand()? {
                        Heard::Answers(more) => answers += more,
                        Heard::Closed => return Ok(Heard::Closed),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Heard::Answers(answers)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Heard::Closed),
                Err(error) => return Err(error).context("read from the server"),
            }
        }
    }

    fn understand(&mut self) -> Result<Heard> {
        let (mut taken, mut answers) = (0, 0);
        let mut left = false;
        while let Some((head, length)) = Head::decode(&self.rest[taken..])? {
            taken += length;
            let Head::Frame(frame) = head else { bail!("the server sent {head:?}") };
            match frame {
                Frame::Hello(_) if !self.greeted => self.greeted = true,
                Frame::Ping { token } => self.asked = Some(token),
                Frame::Bye(_) => left = true,
                Frame::Beat | Frame::Pong { .. } => {}
                other => bail!("the server sent {other:?}"),
            }
            answers += u64::from(!matches!(frame, Frame::Hello(_)));
        }
        self.rest.drain(..taken);
        if self.rest.is_empty() {
            // Thousands of clients wait at once.
            self.rest = Vec::new();
        }
        Ok(if left { Heard::Closed } else { Heard::Answers(answers) })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return (&self.stream).read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Closed without a close_notify: by a server that has given this client up.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            let read = tls.read_tls(&mut &self.stream)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            if read == 0 {
                return Ok(0);
            }
        }
    }

    /// A few bytes, for which there is room.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return (&self.stream).write_all(bytes) };
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            tls.write_tls(&mut &self.stream)?;
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
