//! `TCP_INFO_v0`: <https://learn.microsoft.com/windows/win32/api/mstcpip/ns-mstcpip-tcp_info_v0>.
//!
//! It tells no age of anything: how long ago the peer was last heard, Windows does not say.

use std::io;
use std::os::windows::io::BorrowedSocket;
use std::time::Duration;

use deadpeer_core::{Facts, Known, TcpState};
use windows_sys::Win32::Networking::WinSock as ws;

use super::ioctl;

/// What is needed of a `TCP_INFO_v0`.
#[derive(Clone, Copy, Debug)]
pub struct TcpInfo {
    pub(super) state: ws::TCPSTATE,
    /// `BytesInFlight`: sent and not acknowledged. What was not yet sent is not told.
    pub in_flight: u32,
    pub(super) rtt_us: u32,
    pub(super) own_window: u32,
}

impl TcpInfo {
    /// Reads a socket's.
    ///
    /// # Errors
    /// Of WSAIoctl; `WSAEOPNOTSUPP` before Windows 10 1703.
    pub fn read(sock: BorrowedSocket<'_>) -> io::Result<Self> {
        ioctl::tcp_info(sock)
    }

    /// Fills in what it tells.
    pub fn fill(self, facts: &mut Facts) {
        facts.state = state(self.state);
        facts.in_flight = self.in_flight;
        facts.rtt = (self.rtt_us > 0).then(|| Duration::from_micros(self.rtt_us.into()));
        facts.own_window = Known::Is(self.own_window);
    }
}

/// The numbers of TCPSTATE (mstcpip.h).
const fn state(number: ws::TCPSTATE) -> TcpState {
    match number {
        ws::TCPSTATE_LISTEN => TcpState::Listen,
        ws::TCPSTATE_SYN_SENT => TcpState::SynSent,
        ws::TCPSTATE_SYN_RCVD => TcpState::SynReceived,
        ws::TCPSTATE_ESTABLISHED => TcpState::Established,
        ws::TCPSTATE_FIN_WAIT_1 => TcpState::FinWait1,
        ws::TCPSTATE_FIN_WAIT_2 => TcpState::FinWait2,
        ws::TCPSTATE_CLOSE_WAIT => TcpState::CloseWait,
        ws::TCPSTATE_CLOSING => TcpState::Closing,
        ws::TCPSTATE_LAST_ACK => TcpState::LastAck,
        ws::TCPSTATE_TIME_WAIT => TcpState::TimeWait,
        _ => TcpState::Close,
    }
}
