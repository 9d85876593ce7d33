//! What was seen of one connection, once. Plain data, no judgement.
//!
//! Ages, not instants: the kernel speaks in ages ("42 ms ago"), which wrap at 49.7 days.

use core::time::Duration;

use crate::known::{Known, Why};

/// The states of RFC 9293, as Linux names them (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpState {
    /// Open in both directions, as far as this side knows.
    Established,
    /// Our SYN is out.
    SynSent,
    /// A SYN came, ours is out.
    SynReceived,
    /// We have closed; our FIN is not acknowledged.
    FinWait1,
    /// We have closed and the peer knows; it has not.
    FinWait2,
    /// Both have closed; late segments are waited for.
    TimeWait,
    /// No connection.
    Close,
    /// The peer has closed, this side has not.
    CloseWait,
    /// Both have closed; our FIN is not acknowledged.
    LastAck,
    /// Waits for connections.
    Listen,
    /// Both closed at the same time.
    Closing,
}

impl TcpState {
    /// Every state, in the kernel's order.
    pub const ALL: [Self; 11] = [
        Self::Established,
        Self::SynSent,
        Self::SynReceived,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// "established", "close-wait" …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-recv",
            Self::FinWait1 => "fin-wait-1",
            Self::FinWait2 => "fin-wait-2",
            Self::TimeWait => "time-wait",
            Self::Close => "close",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
        }
    }
}

/// The timer that is pending, and when it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// None.
    Off,
    /// Unacknowledged data will be sent again, or a tail loss probe goes out.
    Retransmit(Duration),
    /// The keepalive timer looks again.
    Keepalive(Duration),
    /// TIME_WAIT ends.
    TimeWait(Duration),
    /// A shut window will be probed.
    WindowProbe(Duration),
}

/// What came of asking the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How many questions were sent.
    pub tries: u8,
    /// How long ago the first was sent.
    pub over: Duration,
    /// What came back.
    pub answer: Answer,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    None,
    /// The peer's kernel answered, this long after a question.
    Heard(Duration),
    /// The connection ended right after our question: the peer's host knows no such connection (RST).
    Reset(Duration),
    /// The owner closed the connection meanwhile.
    Gone,
}

/// Our own way to the peer, as far as this host can see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The first hop.
    pub hop: Hop,
    /// What other peers behind the same first hop say.
    pub others: Others,
}

/// The first hop of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// The peer is this host.
    Loopback,
    /// Route and carrier are there, and the first hop answered our question on the link just now; or the link
    /// has a single other end, of which nothing can be asked.
    Up,
    /// Route and carrier are there. The first hop was not asked, or could not be.
    Unasked,
    /// The interface is down or has no carrier.
    LinkDown,
    /// No route leads to the peer.
    NoRoute,
    /// The connection's own address is not one of this host's (any more).
    NoAddress,
    /// The gateway did not answer our question on the link (ARP, neighbour discovery).
    GatewaySilent,
    /// The peer is on our link and did not answer our question there: it is gone, or our side of the link is.
    PeerUnresolved,
    /// Policy rules look at the connection's mark, which the kernel tells with CAP_NET_ADMIN only.
    MarkUnknown,
    /// The socket is transparent (IP_TRANSPARENT): its address is another host's, and the kernel does not tell
    /// where it would send from there.
    Transparent,
}

/// What other peers behind the same first hop say: hosts, not connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// There are none, or none was asked.
    None,
    /// At least so many were heard since this peer fell silent.
    Heard(u32),
    /// So many were asked too, and none answered.
    Silent(u32),
}

/// A listener's queue of connections that no program has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptQueue {
    /// How many wait.
    pub waiting: u32,
    /// How many may wait.
    pub limit: u32,
    /// How long the oldest has waited.
    pub oldest: Option<Duration>,
}

/// What was seen of one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    /// Its state.
    pub state: TcpState,
    /// Since TCP last accepted anything from the peer: data or an acknowledgement.
    #[doc(alias = "tcpi_last_ack_recv")]
    pub last_heard: Known<Duration>,
    /// Since data last came.
    #[doc(alias = "tcpi_last_data_recv")]
    pub last_received: Known<Duration>,
    /// Since data was last sent.
    #[doc(alias = "tcpi_last_data_sent")]
    pub last_sent: Known<Duration>,
    /// Segments that came, of any kind. A rise between two looks is life, even where no age moves: a peer's
    /// own keepalive probes count here only.
    #[doc(alias = "tcpi_segs_in")]
    pub segments_in: Known<u32>,
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// The retransmission timeout in force, doublings included.
    pub rto: Duration,
    /// The longest that `rto` can get, where it is known.
    pub rto_max: Option<Duration>,
    /// How often `rto` was doubled since the peer was last heard.
    pub backoff: u8,
    /// Retransmissions of the oldest segment without an answer.
    #[doc(alias = "tcpi_retransmits")]
    pub retransmits: u8,
    /// Keepalive or window probes without an answer.
    #[doc(alias = "tcpi_probes")]
    pub probes_out: u8,
    /// Bytes sent and not acknowledged.
    pub in_flight: u32,
    /// Bytes written and not yet sent.
    pub unsent: u32,
    /// Bytes received that the program has not read.
    pub unread: u32,
    /// The window that we last advertised, bytes; shut at 0.
    pub own_window: Known<u32>,
    /// The timer that is pending.
    pub timer: Timer,
    /// The distance of keepalive probes, where it could be read.
    pub keepalive_interval: Option<Duration>,
    /// A listener's queue.
    pub accept_queue: Option<AcceptQueue>,
    /// What came of asking; `None` when nobody wanted to.
    pub asked: Option<Known<Asked>>,
    /// Our own way to the peer.
    pub path: Known<Path>,
}

impl Facts {
    /// A connection in `state` of which nothing else is known.
    pub const fn new(state: TcpState) -> Self {
        Self {
            state,
            last_heard: Known::Not(Why::NotAsked),
            last_received: Known::Not(Why::NotAsked),
            last_sent: Known::Not(Why::NotAsked),
            segments_in: Known::Not(Why::NotAsked),
            rtt: None,
            rto: Duration::from_secs(1),
            rto_max: None,
            backoff: 0,
            retransmits: 0,
            probes_out: 0,
            in_flight: 0,
            unsent: 0,
            unread: 0,
            own_window: Known::Not(Why::NotAsked),
            timer: Timer::Off,
            keepalive_interval: None,
            accept_queue: None,
            asked: None,
            path: Known::Not(Why::NotAsked),
        }
    }

    /// How long a window that is known to be shut has been so, at least: the peer's, while data waits.
    ///
    /// No data leaves while the window is shut, and probes of it carry none, so the age of the last data
    /// sent is the time that it has been shut. At least one answered probe must have confirmed it.
    pub fn window_shut_for(&self) -> Option<Duration> {
        let probing = matches!(self.timer, Timer::WindowProbe(_)) && self.backoff > 0;
        if probing && self.unsent > 0 { self.last_sent.value() } else { None }
    }

    /// How long our own program has left a full receive queue unread.
    ///
    /// The kernel shuts the window when the queue is full, and the age of the last data that came is the
    /// time since.
    pub fn unread_for(&self) -> Option<Duration> {
        let shut = matches!(self.own_window, Known::Is(0));
        if shut && self.unread > 0 { self.last_received.value() } else { None }
    }
}
