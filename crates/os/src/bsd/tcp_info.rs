//! `struct tcp_connection_info` of macOS and `struct tcp_info` of FreeBSD: a view over as many bytes as the
//! kernel wrote.
//!
//! Neither tells how long ago the peer was last heard. FreeBSD's `tcpi_last_data_recv` would, but counts
//! microseconds in 32 bits: after 71 minutes it begins anew, and nothing says so.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use deadpeer_core::{Facts, Known, TcpState, Why};

use super::sockopt;

#[cfg(target_os = "freebsd")]
type Raw = libc::tcp_info;
#[cfg(target_os = "macos")]
type Raw = libc::tcp_connection_info;

/// Where the fields lie, and what their times count.
#[cfg(target_os = "macos")]
mod at {
    use super::{Duration, Raw, offset_of};
    pub(super) const STATE: usize = offset_of!(Raw, tcpi_state);
    pub(super) const RTO: usize = offset_of!(Raw, tcpi_rto);
    pub(super) const RTT: usize = offset_of!(Raw, tcpi_srtt);
    pub(super) const OWN_WINDOW: usize = offset_of!(Raw, tcpi_rcv_wnd);
    pub(super) const UNIT: Duration = Duration::from_millis(1);
}
/// Where the fields lie, and what their times count.
#[cfg(target_os = "freebsd")]
mod at {
    use super::{Duration, Raw, offset_of};
    pub(super) const STATE: usize = offset_of!(Raw, tcpi_state);
    pub(super) const RTO: usize = offset_of!(Raw, tcpi_rto);
    pub(super) const RTT: usize = offset_of!(Raw, tcpi_rtt);
    pub(super) const OWN_WINDOW: usize = offset_of!(Raw, tcpi_rcv_space);
    pub(super) const UNIT: Duration = Duration::from_micros(1);
}

/// What a kernel tells of a connection.
#[derive(Clone, Copy, Debug)]
pub struct TcpInfo {
    bytes: [u8; size_of::<Raw>()],
    length: usize,
}

impl TcpInfo {
    /// Reads a socket's.
    ///
    /// # Errors
    /// Of getsockopt(2).
    pub fn read(sock: BorrowedFd<'_>) -> io::Result<Self> {
        let mut bytes = [0; size_of::<Raw>()];
        let length = sockopt::get_bytes(sock, sockopt::INFO, &mut bytes)?;
        Ok(Self { bytes, length })
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(..self.length)?.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }

    fn time(&self, at: usize) -> Option<Duration> {
        self.word(at).filter(|&units| units > 0).map(|units| at::UNIT.saturating_mul(units))
    }

    /// The state.
    pub fn state(&self) -> Option<TcpState> {
        self.bytes.get(..self.length)?.get(at::STATE).copied().and_then(state)
    }

    /// Fills in what it tells.
    pub fn fill(&self, facts: &mut Facts) {
        facts.rtt = self.time(at::RTT);
        if let Some(rto) = self.time(at::RTO) {
            facts.rto = rto;
        }
        facts.own_window = self.word(at::OWN_WINDOW).map_or(Known::Not(Why::NotOnThisKernel), Known::Is);
    }
}

/// The kernels' number of a state (netinet/tcp_fsm.h, the same in both).
const fn state(number: u8) -> Option<TcpState> {
    Some(match number {
        0 => TcpState::Close,
        1 => TcpState::Listen,
        2 => TcpState::SynSent,
        3 => TcpState::SynReceived,
        4 => TcpState::Established,
        5 => TcpState::CloseWait,
        6 => TcpState::FinWait1,
        7 => TcpState::Closing,
        8 => TcpState::LastAck,
        9 => TcpState::FinWait2,
        10 => TcpState::TimeWait,
        _ => return None,
    })
}
