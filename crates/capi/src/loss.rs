//! Why a connection has ended.

use std::ffi::{c_char, c_int};
use std::io;
use std::time::Duration;

use library::{BorrowedSock, Loss, Mechanism, PeerLost, lost_within, over_within};

use crate::error::{Error, status};
use crate::plain::{DEADPEER_UNKNOWN, Out, known_millis, plain, text};
use crate::socket::{borrow, deadpeer_socket_t};

/// What happened to the peer, as far as it can be told.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum deadpeer_loss {
    /// The connection has not ended as far as this system knows.
    None = 0,
    /// The peer closed its sending side (FIN): it sends nothing more. Whether it still reads can't be told until
    /// something is sent to it.
    Closed = 1,
    /// It answered with a reset (RST): killed, rebooted, or it closed with our data unread.
    Reset = 2,
    /// Nothing came from it while nothing was in flight: its host or the way to it is dead.
    SilentIdle = 3,
    /// It acknowledged nothing of what was sent: its host or the way to it is dead.
    SilentInFlight = 4,
    /// Its kernel answered, but its window stayed shut for the user timeout: it lives and reads nothing.
    WindowShut = 5,
    /// The network said that it can't be reached.
    Unreachable = 6,
    /// The connection was ended on this host, by its owner or its administrator.
    AbortedHere = 7,
    /// Its heartbeats stopped: its host, the way to it, or its application is dead.
    HeartbeatMissed = 8,
    /// Its heartbeats stopped, and its kernel goes on answering: the application hangs.
    Hung = 9,
    /// There is no connection, and there never was one: nobody answered the attempt in time, or none was made.
    NeverConnected = 10,
    /// The attempt to connect was refused: no program accepts connections there, or a firewall says so.
    Refused = 11,
    /// The connection has ended, not by the peer's close as far as the system tells, and the cause is not known
    /// any more: another reader of the same socket has taken it.
    Ended = 12,
    /// Something that this version has no number for: see the text.
    Other = 99,
}

/// Who noticed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum deadpeer_mechanism {
    /// Nobody: the connection has not ended as far as this system knows.
    None = 0,
    /// The peer's FIN.
    EndOfFile = 1,
    /// The peer's RST.
    Reset = 2,
    /// Keepalive probes that went unanswered.
    Keepalive = 3,
    /// The bound on unacknowledged data (TCP_USER_TIMEOUT).
    UserTimeout = 4,
    /// Retransmissions, or probes of a shut window, used up.
    Retransmissions = 5,
    /// An ICMP message, or a route that is gone.
    Icmp = 6,
    /// The application's own heartbeat.
    Heartbeat = 7,
    /// Somebody on this host.
    Local = 8,
    /// It is not known who.
    Unknown = 9,
    /// Something that this version has no number for: see the text.
    Other = 99,
}

/// Why a connection has ended, and who noticed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct deadpeer_peer_lost {
    /// `sizeof(deadpeer_peer_lost)`, set by the caller; what was filled in, set by the library.
    pub size: usize,
    /// What happened.
    pub cause: deadpeer_loss,
    /// Who noticed.
    pub noticed_by: deadpeer_mechanism,
    /// How long ago anything last came from the peer when the end was noticed, milliseconds, or
    /// `DEADPEER_UNKNOWN`.
    pub silent_ms: i64,
    /// Bytes written that the peer has not acknowledged, or `DEADPEER_UNKNOWN`. It bounds what the peer's
    /// kernel may lack; what its application has processed nobody knows.
    pub unacknowledged: i64,
    /// The system's error number (`ETIMEDOUT` …), or 0. **It is gone from the socket**: the next read says
    /// "end of file".
    pub error: c_int,
    /// The cause as a word that stays: "silent-idle".
    pub cause_word: [c_char; 32],
    /// The mechanism as a word that stays: "keepalive".
    pub noticed_by_word: [c_char; 32],
    /// All of it as a sentence: "the peer fell silent while the connection was idle, 10 s ago (keepalive)".
    pub text: [c_char; 192],
}

plain!(deadpeer_peer_lost, ends with text: [c_char; 192]);

/// Waits up to `timeout_ms` milliseconds for the system to know that the peer is gone or has closed. Data
/// that comes neither ends the wait nor is read. 0 does not wait, negative waits for ever.
///
/// A client that has closed its sending side after its request, and waits for the answer, counts as closed: see
/// `deadpeer_over`.
///
/// Returns 1 with `lost` filled in, or 0 when nothing is known within that time. `lost` may be NULL. A
/// pending error is taken from the socket and told in `lost`: keep it. Negative: this is no TCP connection
/// (`DEADPEER_STATUS_SYSTEM`).
///
/// # Safety
/// `socket` is not closed meanwhile; `lost` is null or points to a structure whose `size` is right.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_lost(
    socket: deadpeer_socket_t,
    timeout_ms: i64,
    lost: *mut deadpeer_peer_lost,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { wait(socket, timeout_ms, lost, |socket, patience| lost_within(socket, patience)) }
}

/// Waits up to `timeout_ms` milliseconds for the system to know that the connection is over: reset, timed out, or
/// closed by both sides. Neither data nor the peer's FIN ends the wait. Else as `deadpeer_lost`.
///
/// This is the wait for work that is given up when nobody wants its result any more. A client that has closed its
/// sending side gets its answer. One that has closed both directions looks the same until something is sent to it.
/// Windows does not tell that this side has closed, too: there, only an error ends the wait.
///
/// # Safety
/// As `deadpeer_lost`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_over(
    socket: deadpeer_socket_t,
    timeout_ms: i64,
    lost: *mut deadpeer_peer_lost,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { wait(socket, timeout_ms, lost, |socket, patience| over_within(socket, patience)) }
}

/// # Safety
/// As `deadpeer_lost`.
unsafe fn wait(
    socket: deadpeer_socket_t,
    timeout_ms: i64,
    lost: *mut deadpeer_peer_lost,
    within: fn(&BorrowedSock<'_>, Duration) -> io::Result<Option<PeerLost>>,
) -> c_int {
    status(|| {
        // SAFETY: as the caller promises.
        let (socket, out) = unsafe { (borrow(socket)?, Out::optional(lost)?) };
        let patience = u64::try_from(timeout_ms).map_or(Duration::MAX, Duration::from_millis);
        let lost = within(&socket, patience).map_err(|error| unaskable(&error))?;
        Ok(answer(out, lost.as_ref()))
    })
}

/// Explains the error number with which recv(2), send(2) or their like failed on `socket`, or which
/// `SO_ERROR` said. Ask before the socket is closed.
///
/// Returns 1 with `lost` filled in when that error ends a connection, and 0 when it does not (`EINTR`,
/// `EAGAIN`, `EPIPE` after one's own shutdown). `lost` may be NULL.
///
/// # Safety
/// `socket` is not closed meanwhile; `lost` is null or points to a structure whose `size` is right.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn deadpeer_explain(
    socket: deadpeer_socket_t,
    error: c_int,
    lost: *mut deadpeer_peer_lost,
) -> c_int {
    status(|| {
        // SAFETY: as the caller promises.
        let (socket, out) = unsafe { (borrow(socket)?, Out::optional(lost)?) };
        let explained = PeerLost::explain(&socket, io::Error::from_raw_os_error(error));
        Ok(answer(out, PeerLost::of(&explained)))
    })
}

pub(crate) fn unaskable(error: &io::Error) -> Error {
    Error::system(format_args!("this socket can't be asked: {error}"), error)
}

pub(crate) fn answer(out: Option<Out<deadpeer_peer_lost>>, lost: Option<&PeerLost>) -> c_int {
    if let Some(out) = out {
        out.fill(told(lost));
    }
    c_int::from(lost.is_some())
}

fn told(lost: Option<&PeerLost>) -> deadpeer_peer_lost {
    deadpeer_peer_lost {
        size: 0,
        cause: lost.map_or(deadpeer_loss::None, |lost| lost.cause.into()),
        noticed_by: lost.map_or(deadpeer_mechanism::None, |lost| lost.noticed_by.into()),
        silent_ms: known_millis(lost.and_then(|lost| lost.silent)),
        unacknowledged: lost
            .and_then(|lost| lost.unacknowledged)
            .map_or(DEADPEER_UNKNOWN, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        error: lost.and_then(|lost| lost.errno).unwrap_or(0),
        cause_word: text(lost.map_or("", |lost| lost.cause.as_str())),
        noticed_by_word: text(lost.map_or("", |lost| lost.noticed_by.as_str())),
        text: text(&lost.map(PeerLost::to_string).unwrap_or_default()),
    }
}

impl From<Loss> for deadpeer_loss {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Closed => Self::Closed,
            Loss::Reset => Self::Reset,
            Loss::SilentIdle => Self::SilentIdle,
            Loss::SilentInFlight => Self::SilentInFlight,
            Loss::WindowShut => Self::WindowShut,
            Loss::Unreachable => Self::Unreachable,
            Loss::AbortedHere => Self::AbortedHere,
            Loss::HeartbeatMissed => Self::HeartbeatMissed,
            Loss::Hung => Self::Hung,
            Loss::NeverConnected => Self::NeverConnected,
            Loss::Refused => Self::Refused,
            Loss::Ended => Self::Ended,
            _ => Self::Other,
        }
    }
}

impl From<Mechanism> for deadpeer_mechanism {
    fn from(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::EndOfFile => Self::EndOfFile,
            Mechanism::Reset => Self::Reset,
            Mechanism::Keepalive => Self::Keepalive,
            Mechanism::UserTimeout => Self::UserTimeout,
            Mechanism::Retransmissions => Self::Retransmissions,
            Mechanism::Icmp => Self::Icmp,
            Mechanism::Heartbeat => Self::Heartbeat,
            Mechanism::Local => Self::Local,
            Mechanism::Unknown => Self::Unknown,
            _ => Self::Other,
        }
    }
}
