//! What was seen of one connection, once. Plain data, no judgement.
//!
//! Ages, not instants: the kernel speaks in ages ("42 ms ago"), which wrap at 49.7 days.

use core::time::Duration;

use crate::certainty::{Loss, Proof};
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
    /// How many questions were sent that had the time to be answered.
    pub tries: u16,
    /// How long ago the first was sent.
    pub over: Duration,
    /// What came back.
    pub answer: Answer,
    /// How many questions were answered.
    pub answers: u16,
    /// Retransmissions that left after the first answer, and were not acknowledged.
    pub stuck: u8,
    /// What silence would have to be to prove a death on this path.
    pub proof: Proof,
    /// How long that takes from the first question on.
    pub proof_takes: Duration,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    None,
    /// An acknowledgement without data: the peer's kernel answered.
    Answered(AnswerTime),
    /// Something of the peer's own: data, or probes of its keepalive.
    Heard,
    /// The connection was reset after our question: the peer's host knows no such connection (RST), or
    /// something on the way refuses it.
    Reset(Duration),
    /// The connection ended while we asked, and its owner has taken the reason.
    Ended,
    /// The owner closed the connection meanwhile.
    Gone,
}

/// How long an answer took. Where it could belong to several questions, the shortest and the longest time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerTime {
    /// Since the last question that it can belong to.
    pub least: Duration,
    /// Since the first question that it can belong to.
    pub most: Duration,
}

impl AnswerTime {
    /// The time, where there is only one.
    pub fn exact(self) -> Option<Duration> {
        (self.least == self.most).then_some(self.most)
    }
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
    /// Segments with data among them.
    #[doc(alias = "tcpi_data_segs_in")]
    pub data_segments_in: Known<u32>,
    /// Segments with data that were sent, retransmissions among them.
    #[doc(alias = "tcpi_data_segs_out")]
    pub data_segments_out: Known<u32>,
    /// Segments that were sent again in the connection's life.
    #[doc(alias = "tcpi_total_retrans")]
    pub retransmitted: u32,
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// How much the round-trip time varies (mean deviation).
    #[doc(alias = "tcpi_rttvar")]
    pub rtt_variance: Option<Duration>,
    /// The shortest round-trip time of the last minutes.
    #[doc(alias = "tcpi_min_rtt")]
    pub least_rtt: Option<Duration>,
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
    /// Segments sent and not acknowledged.
    #[doc(alias = "tcpi_unacked")]
    pub segments_in_flight: u32,
    /// Bytes written and not yet sent.
    pub unsent: u32,
    /// Bytes received that the program has not read.
    pub unread: u32,
    /// The window that we last advertised, bytes; shut at 0.
    pub own_window: Known<u32>,
    /// The window that the peer last advertised, bytes; shut at 0.
    #[doc(alias = "tcpi_snd_wnd")]
    pub peer_window: Known<u32>,
    /// The timer that is pending.
    pub timer: Timer,
    /// Whether a descriptor of this socket exists. Without one the kernel alone holds it: it is being closed, or
    /// waits to be accepted.
    pub has_descriptor: bool,
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
            data_segments_in: Known::Not(Why::NotAsked),
            data_segments_out: Known::Not(Why::NotAsked),
            retransmitted: 0,
            rtt: None,
            rtt_variance: None,
            least_rtt: None,
            rto: Duration::from_secs(1),
            rto_max: None,
            backoff: 0,
            retransmits: 0,
            probes_out: 0,
            in_flight: 0,
            segments_in_flight: 0,
            unsent: 0,
            unread: 0,
            own_window: Known::Not(Why::NotAsked),
            peer_window: Known::Not(Why::NotAsked),
            timer: Timer::Off,
            has_descriptor: true,
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
        if probing && self.unsent > 0 && !self.cannot_send() {
            return self.last_sent.value();
        }
        self.window_withdrawn_for()
    }

    /// How long the peer has refused data that an earlier window of its allowed, at least. Linux 6.17 does that
    /// when its buffer is full, and any Linux does whose program made its buffer smaller.
    ///
    /// The data stays in flight. Its retransmissions take the place of window probes: each doubles the timeout
    /// and none is counted as a retransmission of lost data (`tcp_retransmit_timer` in net/ipv4/tcp_timer.c).
    /// All doublings are therefore times during which the window was shut. An answer to the latest one must have
    /// confirmed it; a millisecond is the resolution of these ages.
    fn window_withdrawn_for(&self) -> Option<Duration> {
        let is_shut = matches!(self.peer_window, Known::Is(0));
        let resent = matches!(self.timer, Timer::Retransmit(_)) && self.backoff > 0 && self.retransmits == 0;
        let (sent, heard) = (self.last_sent.value()?, self.last_heard.value()?);
        let is_answered = heard <= sent.saturating_add(Duration::from_millis(1));
        if !(is_shut && resent && self.in_flight > 0 && is_answered) {
            return None;
        }
        let first = self.rto / 1u32.checked_shl(u32::from(self.backoff)).unwrap_or(u32::MAX);
        Some(self.rto.saturating_sub(first).saturating_add(sent))
    }

    /// Whether our own kernel fails to send: the peer's window is open, data waits, nothing is in flight, and the
    /// timer that should have sent it has fired in vain. A firewall of this host, a rule without a route or a
    /// local address that was removed does that (`tcp_send_probe0`: what the IP layer refuses is tried again).
    pub fn cannot_send(&self) -> bool {
        let open = matches!(self.peer_window, Known::Is(bytes) if bytes > 0);
        let in_vain = matches!(self.timer, Timer::WindowProbe(_)) && self.probes_out > 0;
        open && in_vain && self.unsent > 0 && self.in_flight == 0
    }

    /// How long nothing has come or gone: neither data nor acknowledgements.
    pub fn quiet_for(&self) -> Option<Duration> {
        let ages = [self.last_heard, self.last_received, self.last_sent];
        ages.into_iter().filter_map(Known::value).min()
    }

    /// The size of the segments that wait for an acknowledgement.
    pub const fn segment_size(&self) -> Option<u32> {
        self.in_flight.checked_div(self.segments_in_flight)
    }

    /// What the connection's own retransmissions tell of the path: packets lost, of packets sent. Those that are
    /// unanswered now don't count: they may be the silence that is to be judged.
    pub fn losses(&self) -> (u32, u32) {
        // A tail loss probe goes before the first retransmission.
        let now = if self.retransmits > 0 { u32::from(self.retransmits) + 1 } else { 0 };
        let sent = self.data_segments_out.value().unwrap_or(0).saturating_sub(now);
        (self.retransmitted.saturating_sub(now), sent)
    }

    /// How long an answer may take: the retransmission timeout without its doublings, 1 s at least.
    pub fn patience(&self) -> Duration {
        let first = self.rto / 1u32.checked_shl(u32::from(self.backoff)).unwrap_or(u32::MAX);
        let varied = self.rtt_variance.unwrap_or_default().saturating_mul(4);
        let round_trip = self.rtt.unwrap_or_default().saturating_add(varied);
        first.max(round_trip).max(Duration::from_secs(1))
    }

    /// How far apart questions have to be so that a living peer answers each: Linux answers one in 500 ms
    /// (`tcp_invalid_ratelimit` in ip-sysctl.rst), counted where they *arrive*. At 600 ms with 150 ms of jitter
    /// 18 % stay unanswered, a second apart none (measured).
    pub fn question_gap(&self) -> Duration {
        let jitter = self.rtt_variance.unwrap_or_default().saturating_mul(4);
        Duration::from_millis(500).saturating_add(jitter).max(Duration::from_secs(1))
    }

    /// Whether the peer is known to be this host.
    pub const fn is_on_this_host(&self) -> bool {
        matches!(self.path, Known::Is(Path { hop: Hop::Loopback, .. }))
    }

    /// What silence has to be to prove the peer's death: as found when it was asked, else by what the connection
    /// itself tells of its path.
    pub fn proof(&self) -> Proof {
        match self.asked {
            Some(Known::Is(asked)) => asked.proof,
            _ if self.is_on_this_host() => Proof::ON_THIS_HOST,
            _ => {
                let (lost, sent) = self.losses();
                Proof::across(Loss::measured(lost.into(), sent.into()))
            }
        }
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
