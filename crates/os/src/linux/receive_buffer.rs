//! Whether a program leaves its receive buffer full, on kernels whose TCP_INFO lacks the own window.
//!
//! `tcpi_rcv_wnd` came with Linux 6.2. Before, the socket's memory tells the same: the kernel advertises no
//! more window when the buffer's free part is small (`__tcp_select_window` in net/ipv4/tcp_output.c). Which
//! part of a window that was advertised before is left, it does not tell.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use deadpeer_core::{Facts, Known};
use rustix::net::{AddressFamily, SocketType, socket};

use super::netlink::message::bytes_at;
use super::sockopt;
use super::tcp_info::{CAPACITY, TcpInfo};

/// `INET_DIAG_SKMEMINFO`, the attribute and the number of the extension that asks for it.
pub(super) const ATTRIBUTE: u16 = 7;

/// The bit of `idiag_ext` that asks for the socket's memory; none where TCP_INFO tells the window itself,
/// since each socket's answer gets longer.
pub(super) fn extension() -> u8 {
    static NEEDED: OnceLock<bool> = OnceLock::new();
    let needed = *NEEDED.get_or_init(|| {
        let Ok(sock) = socket(AddressFamily::INET, SocketType::STREAM, None) else { return false };
        let mut buffer = [0; CAPACITY];
        TcpInfo::read(sock.as_fd(), &mut buffer).is_ok_and(|info| !info.has_own_window())
    });
    if needed { 1 << (ATTRIBUTE - 1) } else { 0 }
}

/// A socket's receive memory: the first two words of `SK_MEMINFO_*` (include/uapi/linux/sock_diag.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiveBuffer {
    allocated: u32,
    limit: u32,
}

impl ReceiveBuffer {
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let word = |at| bytes_at(bytes, at, "").ok().map(u32::from_ne_bytes);
        Some(Self { allocated: word(0)?, limit: word(4)? })
    }

    /// Of a socket of our own.
    pub(super) fn read(sock: BorrowedFd<'_>) -> Option<Self> {
        let mut buffer = [0; 64];
        let length = sockopt::get_bytes(sock, sockopt::SO_MEMINFO, &mut buffer).ok()?;
        Self::new(&buffer[..length])
    }

    /// Whether the kernel has no window left to advertise. `segment` is `tcpi_rcv_mss`.
    ///
    /// Half of the memory counts as window (`tcp_adv_win_scale` = 1). Once less than half of that is free, the
    /// window shuts below a sixteenth of it, or below one segment.
    fn is_full(self, segment: u32) -> bool {
        let window = self.limit / 2;
        let free = self.limit.saturating_sub(self.allocated) / 2;
        free < window / 2 && (free < window / 16 || free < segment.min(window))
    }

    /// Notes a shut window where `info` doesn't tell of it.
    pub(super) fn fill(self, info: TcpInfo<'_>, facts: &mut Facts) {
        if !info.has_own_window() && self.is_full(info.receive_segment()) {
            facts.own_window = Known::Is(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::diag::Diag;
    use super::super::stream::look;
    use super::*;
    use deadpeer_core::{TcpState, Why};
    use deadpeer_lab::{Pair, fill};
    use std::io::Write;
    use std::thread;
    use std::time::{Duration, Instant};

    /// Captured on Linux 6.1 with a reader that had read nothing for two seconds: memory, limit,
    /// `tcpi_rcv_mss`, and whether the sender was stuck.
    #[test]
    fn what_linux_6_1_showed() {
        for (allocated, limit, segment, stuck) in [
            (85_248, 131_072, 32_741, true),
            (92_106, 131_072, 32_741, true),
            (125_748, 131_072, 1_436, true),
            (126_656, 131_072, 524, true),
            (6_656, 8_192, 2_048, true),
            (410_904, 425_984, 1_436, true),
            (345_937, 425_984, 65_483, true),
            (60_000, 131_072, 1_436, false),
            (100_000, 131_072, 1_436, false),
            (0, 131_072, 65_483, false),
            (0, 0, 0, false),
        ] {
            let buffer = ReceiveBuffer { allocated, limit };
            assert_eq!(buffer.is_full(segment), stuck, "{buffer:?} {segment}");
        }
    }

    /// The memory says so on kernels that tell the window, too; TCP_INFO has the last word there.
    #[test]
    fn a_full_queue_is_seen_on_every_kernel_and_a_used_one_is_not() {
        let mut pair = Pair::loopback().unwrap();
        let server = pair.server.as_fd();
        let is_full = || {
            let mut buffer = [0; CAPACITY];
            let segment = TcpInfo::read(server, &mut buffer).unwrap().receive_segment();
            ReceiveBuffer::read(server).unwrap().is_full(segment)
        };
        let window = || {
            let listed = Diag::open().unwrap().own(server).unwrap().unwrap().facts.own_window;
            (look(server).unwrap().facts.own_window.value(), listed.value())
        };
        pair.client.write_all(&[0; 1000]).unwrap();
        thread::sleep(Duration::from_millis(100));
        assert!(!is_full());
        assert!(![window().0, window().1].contains(&Some(0)));
        fill(&pair.client).unwrap();
        // The sender keeps what would fill less than a segment until its first window probe.
        let deadline = Instant::now() + Duration::from_secs(10);
        while window() != (Some(0), Some(0)) {
            assert!(Instant::now() < deadline, "{:?}", window());
            thread::sleep(Duration::from_millis(10));
        }
        assert!(is_full());
    }

    #[test]
    fn tcp_info_has_the_last_word_where_it_knows_the_window() {
        let full = ReceiveBuffer { allocated: 131_072, limit: 131_072 };
        let mut facts = Facts::new(TcpState::Established);
        facts.own_window = Known::Is(7);
        full.fill(TcpInfo::new(&[0; 280]), &mut facts);
        assert_eq!(facts.own_window, Known::Is(7));
        facts.own_window = Known::Not(Why::NotOnThisKernel);
        full.fill(TcpInfo::new(&[0; 232]), &mut facts);
        assert_eq!(facts.own_window, Known::Is(0));
    }

    #[test]
    fn half_a_structure_is_none() {
        assert_eq!(ReceiveBuffer::new(&[1, 0, 0, 0, 2, 0, 0]), None);
        let whole = ReceiveBuffer::new(&[1, 0, 0, 0, 2, 0, 0, 0, 9]);
        assert_eq!(
            whole,
            Some(ReceiveBuffer {
                allocated: u32::from_ne_bytes([1, 0, 0, 0]),
                limit: u32::from_ne_bytes([2, 0, 0, 0])
            })
        );
    }
}
