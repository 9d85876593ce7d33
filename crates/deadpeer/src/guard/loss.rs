//! Why a connection ended.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use deadpeer_core::Span;
use deadpeer_core::session::Happened;

/// Why a connection ended, and who noticed.
///
/// It travels inside [`io::Error`], whose kind stays what people expect (`TimedOut`, `ConnectionReset` …);
/// [`PeerLost::of`] finds it there. A custom `io::Error` answers `None` to `raw_os_error`, so the error
/// number is kept in [`PeerLost::errno`].
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use deadpeer::{Loss, Mechanism, PeerLost};
///
/// let mut lost = PeerLost::new(Loss::SilentIdle, Mechanism::Keepalive);
/// lost.silent = Some(Duration::from_millis(10_300));
/// assert_eq!(lost.to_string(), "the peer fell silent while the connection was idle, 10.3 s ago (keepalive)");
///
/// let error = io::Error::from(lost);
/// assert_eq!(error.kind(), io::ErrorKind::TimedOut);
/// assert_eq!(PeerLost::of(&error).map(|lost| lost.cause), Some(Loss::SilentIdle));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerLost {
    /// What happened.
    pub cause: Loss,
    /// Who noticed.
    pub noticed_by: Mechanism,
    /// How long ago anything last came from the peer, when the end was noticed.
    pub silent: Option<Duration>,
    /// Bytes that were written and that the peer has not acknowledged; `None` where the system does not tell.
    ///
    /// It bounds what the peer's *kernel* may lack. What its application has processed it does not tell, so
    /// repeating a request still needs requests that may be repeated.
    #[doc(alias = "SIOCOUTQ")]
    pub unacknowledged: Option<u64>,
    /// The system's error number.
    pub errno: Option<i32>,
    /// Of a session: its last events, the oldest first, at most 32. Else empty.
    pub events: Box<[Happened]>,
}

/// What happened to the peer, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// It closed its sending side (FIN): it sends nothing more. Whether it still reads can't be told until
    /// something is sent to it. [`over_within`](crate::over_within) waits for more than that.
    Closed,
    /// It answered with a reset (RST): killed, rebooted, or it closed with our data unread.
    Reset,
    /// Nothing came from it while nothing was in flight: its host or the way to it is dead.
    SilentIdle,
    /// It acknowledged nothing of what was sent: its host or the way to it is dead.
    SilentInFlight,
    /// Its kernel answered, but its window stayed shut for the user timeout: it lives and reads nothing.
    WindowShut,
    /// The network said that it can't be reached (ICMP, or our own routes).
    Unreachable,
    /// The connection was ended on this host, by its owner or its administrator.
    AbortedHere,
    /// Its heartbeats stopped: its host, the way to it, or its application is dead.
    HeartbeatMissed,
    /// Its heartbeats stopped, and its kernel goes on answering: the application hangs.
    Hung,
    /// There is no connection, and there never was one: nobody answered the attempt in time, or none was made.
    NeverConnected,
    /// The attempt to connect was refused: no program accepts connections there, or a firewall says so.
    Refused,
    /// The connection has ended, not by the peer's close as far as the system tells, and the cause is not known
    /// any more: the kernel tells it once, and another reader of the same socket has taken it. While data of a
    /// connection that is over waits to be read, Linux does not tell such an end from one in which both sides have
    /// closed; ask again when it was read.
    Ended,
}

/// Who noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mechanism {
    /// The peer's FIN.
    EndOfFile,
    /// The peer's RST.
    Reset,
    /// Keepalive probes that went unanswered.
    Keepalive,
    /// The bound on unacknowledged data.
    #[doc(alias = "TCP_USER_TIMEOUT")]
    UserTimeout,
    /// Retransmissions, or probes of a shut window, used up.
    #[doc(alias = "tcp_retries2")]
    Retransmissions,
    /// An ICMP message, or a route that is gone, kept by the kernel until the timers ended.
    Icmp,
    /// The application's own heartbeat.
    Heartbeat,
    /// Somebody on this host.
    Local,
    /// It is not known who.
    Unknown,
}

impl PeerLost {
    /// A loss of which nothing else is known.
    pub fn new(cause: Loss, noticed_by: Mechanism) -> Self {
        Self { cause, noticed_by, silent: None, unacknowledged: None, errno: None, events: Box::default() }
    }

    /// Finds the loss in an error, however deep.
    ///
    /// `source()` skips what an [`io::Error`] carries, so each one on the way is looked into by `get_ref`.
    ///
    /// ```
    /// use std::io;
    /// use deadpeer::{Loss, Mechanism, PeerLost};
    ///
    /// let inner = io::Error::from(PeerLost::new(Loss::Reset, Mechanism::Reset));
    /// let wrapped = io::Error::other(inner);
    /// assert!(PeerLost::of(&wrapped).is_some());
    /// assert!(PeerLost::of(&io::Error::other("something else")).is_none());
    /// ```
    pub fn of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(lost) = error.downcast_ref() {
                return Some(lost);
            }
            let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(lost) = carried.and_then(|carried| Self::of(carried)) {
                return Some(lost);
            }
            next = error.source();
        }
        None
    }

    /// The kind that an [`io::Error`] made of it has.
    pub fn kind(&self) -> io::ErrorKind {
        match (self.errno, self.cause) {
            // Keepalive's number on Windows (WSAENETRESET) has no kind of its own.
            (
                _,
                Loss::SilentIdle
                | Loss::SilentInFlight
                | Loss::WindowShut
                | Loss::HeartbeatMissed
                | Loss::Hung,
            ) => io::ErrorKind::TimedOut,
            (Some(errno), _) => io::Error::from_raw_os_error(errno).kind(),
            (None, Loss::Closed | Loss::Ended) => io::ErrorKind::UnexpectedEof,
            (None, Loss::NeverConnected) => io::ErrorKind::NotConnected,
            (None, Loss::Refused) => io::ErrorKind::ConnectionRefused,
            (None, Loss::Reset) => io::ErrorKind::ConnectionReset,
            (None, Loss::Unreachable) => io::ErrorKind::HostUnreachable,
            (None, Loss::AbortedHere) => io::ErrorKind::ConnectionAborted,
        }
    }
}

impl From<PeerLost> for io::Error {
    fn from(lost: PeerLost) -> Self {
        Self::new(lost.kind(), lost)
    }
}

impl fmt::Display for PeerLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        if let (Some(silent), Loss::SilentIdle | Loss::SilentInFlight | Loss::HeartbeatMissed | Loss::Hung) =
            (self.silent, self.cause)
        {
            write!(f, ", {} ago", Span(silent))?;
        }
        if let Some(bytes @ 1..) = self.unacknowledged {
            write!(f, ", {bytes} bytes unacknowledged")?;
        }
        match (self.noticed_by, self.errno) {
            // The sentence says it already.
            (Mechanism::EndOfFile | Mechanism::Reset | Mechanism::Local, _) | (Mechanism::Unknown, None) => {
                Ok(())
            }
            (Mechanism::Icmp | Mechanism::Unknown, Some(errno)) => {
                write!(f, " ({})", io::Error::from_raw_os_error(errno))
            }
            (mechanism, _) => write!(f, " ({mechanism})"),
        }
    }
}

impl Error for PeerLost {}

impl Loss {
    /// Its name in kebab case, stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::SilentIdle => "silent-idle",
            Self::SilentInFlight => "silent-in-flight",
            Self::WindowShut => "window-shut",
            Self::Unreachable => "unreachable",
            Self::AbortedHere => "aborted-here",
            Self::HeartbeatMissed => "heartbeat-missed",
            Self::Hung => "hung",
            Self::NeverConnected => "never-connected",
            Self::Refused => "refused",
            Self::Ended => "ended",
        }
    }
}

/// What happened, as a sentence.
impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the peer closed the connection",
            Self::Reset => "the peer reset the connection",
            Self::SilentIdle => "the peer fell silent while the connection was idle",
            Self::SilentInFlight => "the peer fell silent with data in flight",
            Self::WindowShut => "the peer's kernel answers, but its window stayed shut",
            Self::Unreachable => "the peer can't be reached",
            Self::AbortedHere => "the connection was ended on this host",
            Self::HeartbeatMissed => "the peer's heartbeats stopped",
            Self::Hung => "the peer's kernel answers, but its application fell silent",
            Self::NeverConnected => "the connection was never established",
            Self::Refused => "the attempt to connect was refused",
            Self::Ended => "the connection has ended, and its cause is not known any more",
        })
    }
}

impl Mechanism {
    /// Its name in kebab case, stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndOfFile => "end-of-file",
            Self::Reset => "reset",
            Self::Keepalive => "keepalive",
            Self::UserTimeout => "user-timeout",
            Self::Retransmissions => "retransmissions",
            Self::Icmp => "icmp",
            Self::Heartbeat => "heartbeat",
            Self::Local => "local",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
