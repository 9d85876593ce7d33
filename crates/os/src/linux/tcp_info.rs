//! `struct tcp_info`: a view over as many of its bytes as this kernel knows.
//!
//! The structure only ever grows at its end (include/uapi/linux/tcp.h), so a field beyond the length that
//! the kernel wrote is one that it does not have.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use deadpeer_core::{Facts, Known, TcpState, Why};

use super::netlink::message::bytes_at;
use super::sockopt;

/// More bytes than any kernel writes today (Linux 6.18: some 280).
pub const CAPACITY: usize = 512;

/// A view over the bytes of a `struct tcp_info`.
#[derive(Clone, Copy, Debug)]
pub struct TcpInfo<'a> {
    bytes: &'a [u8],
}

impl<'a> TcpInfo<'a> {
    /// Views `bytes`, as the kernel wrote them; fields that they are too short for are unknown.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Reads a socket's into `buffer`.
    pub fn read(sock: BorrowedFd<'_>, buffer: &'a mut [u8; CAPACITY]) -> io::Result<Self> {
        let length = sockopt::get_bytes(sock, sockopt::TCP_INFO, buffer)?;
        Ok(Self { bytes: &buffer[..length] })
    }

    fn byte(self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn word(self, at: usize) -> Option<u32> {
        bytes_at(self.bytes, at, "").ok().map(u32::from_ne_bytes)
    }

    fn age(self, at: usize) -> Option<Duration> {
        self.word(at).map(|ms| Duration::from_millis(ms.into()))
    }

    /// `tcpi_state`.
    pub fn state(self) -> Option<TcpState> {
        self.byte(0).and_then(state)
    }

    /// `tcpi_segs_in`.
    pub fn segments_in(self) -> Option<u32> {
        self.word(140)
    }

    /// Segments with data among them; `None` on kernels older than 4.6.
    pub fn data_segments_in(self) -> Option<u32> {
        self.word(152)
    }

    /// `tcpi_snd_wnd`, from Linux 5.4.
    pub fn peer_window(self) -> Option<u32> {
        self.word(228)
    }

    /// Whether the peer ever answered the connection attempt: its answer counts as a delivery
    /// (`tcpi_delivered`, from Linux 4.18).
    pub fn established(self) -> Option<bool> {
        match self.state()? {
            TcpState::SynSent | TcpState::SynReceived | TcpState::Listen => Some(false),
            TcpState::Close => self.word(192).map(|delivered| delivered > 0),
            _ => Some(true),
        }
    }

    /// Whether this kernel tells `tcpi_rcv_wnd` (Linux 6.2).
    pub(super) fn has_own_window(self) -> bool {
        self.word(232).is_some()
    }

    /// `tcpi_rcv_mss`.
    pub(super) fn receive_segment(self) -> u32 {
        self.word(20).unwrap_or(0)
    }

    /// The youngest sign of the peer: data or an acknowledgement.
    pub fn last_heard(self) -> Option<Duration> {
        Some(self.age(52)?.min(self.age(56)?))
    }

    /// Fills in what this structure tells.
    pub fn fill(self, facts: &mut Facts) {
        let known = |value: Option<u32>| value.map_or(Known::Not(Why::NotOnThisKernel), Known::Is);
        let age = |value: Option<Duration>| value.map_or(Known::Not(Why::NotOnThisKernel), Known::Is);
        let micros = |us: u32| Duration::from_micros(us.into());
        facts.retransmits = self.byte(2).unwrap_or(0);
        facts.probes_out = self.byte(3).unwrap_or(0);
        facts.backoff = self.byte(4).unwrap_or(0);
        if let Some(rto) = self.word(8).filter(|&us| us > 0) {
            facts.rto = micros(rto);
        }
        facts.last_sent = age(self.age(44));
        facts.last_received = age(self.age(52));
        facts.last_heard = age(self.last_heard());
        facts.rtt = self.word(68).filter(|&us| us > 0).map(micros);
        facts.rtt_variance = self.word(72).map(micros);
        // Not yet measured is the largest number (`tcp_min_rtt`).
        facts.least_rtt = self.word(148).filter(|&us| us != u32::MAX).map(micros);
        facts.segments_in = known(self.segments_in());
        facts.data_segments_in = known(self.word(152));
        facts.data_segments_out = known(self.word(156));
        facts.retransmitted = self.word(100).unwrap_or(0);
        facts.segments_in_flight = self.word(24).unwrap_or(0);
        facts.own_window = known(self.word(232));
        facts.peer_window = known(self.peer_window());
        // The send queue is known already; this tells which part of it has not been sent.
        let unsent = self.word(144).unwrap_or(0).min(facts.in_flight);
        facts.in_flight -= unsent;
        facts.unsent = unsent;
    }
}

/// The kernel's number of a state (include/net/tcp_states.h).
pub(super) const fn state(number: u8) -> Option<TcpState> {
    Some(match number {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        3 | 12 => TcpState::SynReceived, // 12: NEW_SYN_RECV, a request that has no socket of its own yet
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        7 => TcpState::Close,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        10 => TcpState::Listen,
        11 => TcpState::Closing,
        _ => return None,
    })
}
