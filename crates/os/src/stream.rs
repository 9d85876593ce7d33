//! What can be known of a socket of our own, in the same words on all systems.

use deadpeer_core::Facts;

/// What poll says of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// POLLIN: a read would not block. Data, end of file and errors all say so.
    pub readable: bool,
    /// POLLOUT: a write would not block; it may fail.
    pub writable: bool,
    /// The peer has closed its sending side (FIN), or the connection has ended: POLLRDHUP on Linux, EV_EOF
    /// of kqueue on macOS and FreeBSD, POLLHUP on Windows.
    pub peer_closed: bool,
    /// POLLHUP: both directions are shut; on Windows also where only the peer's is.
    pub hung_up: bool,
    /// POLLERR: an error is pending.
    pub error: bool,
}

impl Readiness {
    /// Whether the kernel knows that the peer is gone, or has closed.
    pub const fn is_end(self) -> bool {
        self.peer_closed || self.hung_up || self.error
    }
}

/// What a look at the receive queue says, without taking anything from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Data waits.
    Data,
    /// The peer has closed and everything was read; or the connection has ended and its error was taken.
    EndOfFile,
    /// No data (EAGAIN), or a signal came (EINTR): the connection is as it was.
    Nothing,
    /// recv failed with this error number, which is gone from the socket now (on Windows it stays).
    Failed(i32),
}

/// What was seen of a connection, and what only its end shows.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The facts, without the timer (which only Linux' sock_diag tells).
    pub facts: Facts,
    /// Bytes that the peer has not acknowledged: unlike `facts.in_flight` it outlives the connection. `None`
    /// where the system does not tell.
    pub unacknowledged: Option<u32>,
    /// Whether the peer ever answered the connection attempt. `None` where the system does not tell.
    pub established: Option<bool>,
}

/// What poll's POLLERR, POLLHUP or POLLRDHUP mean where no error is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutError {
    /// Nothing has ended. Something waits in the error queue (transmit timestamps, completions of
    /// `MSG_ZEROCOPY`), or this program has shut down its own receiving side.
    GoesOn,
    /// The peer closed its sending side (FIN). This side may still send.
    PeerClosed,
    /// Both sides have closed.
    BothClosed,
    /// This program has shut down both directions. The peer has not closed.
    ShutHere,
    /// The socket has no connection, and never had one.
    NeverConnected,
    /// The connection has ended, and not by the peer's FIN as far as the system tells: somebody has taken the
    /// error from the socket already.
    ErrorTaken,
}

/// What an error number says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer's RST.
    Reset,
    /// Writing to what is shut (EPIPE): after a RST that came after a FIN, or after one's own shutdown.
    Broken,
    /// A timer gave up, whichever it was.
    Silence,
    /// Keepalive gave up.
    Keepalive,
    /// The owner or the administrator ended it.
    Aborted,
    /// Ended on this host, by somebody or by a timer: Windows has one number for both (WSAECONNABORTED).
    AbortedOrSilence,
    /// ICMP, or our own routes.
    Unreachable,
    /// Nobody accepts connections there, or a firewall says so.
    Refused,
}
