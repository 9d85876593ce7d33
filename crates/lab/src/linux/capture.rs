//! The segments that pass over loopback: packet(7).

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

/// One TCP segment over IPv4, as it lay on the wire: also what a deaf socket did not hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// When it passed.
    pub at: Instant,
    /// Who sent it.
    pub from: SocketAddrV4,
    /// To whom.
    pub to: SocketAddrV4,
    /// The bytes of data in it.
    pub data: usize,
    /// Whether it ends the sender's side.
    pub fin: bool,
    /// Whether it resets the connection.
    pub rst: bool,
}

/// What passes over all links of a network namespace. It takes CAP_NET_RAW in it, which the owner of a namespace
/// has.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    /// Loopback shows each segment when it leaves and when it comes.
    last: Vec<u8>,
}

impl Capture {
    /// Begins to look.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW.
    pub fn start() -> io::Result<Self> {
        const ETH_P_IP: u16 = 0x0800;
        let protocol = NonZeroU32::new(u32::from(ETH_P_IP.to_be())).map(Protocol::from_raw);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, protocol)?;
        Ok(Self { socket, last: Vec::new() })
    }

    /// The next segment; `None` when none passes within `patience`.
    ///
    /// # Errors
    /// Of poll(2) and recv(2).
    pub fn next(&mut self, patience: Duration) -> io::Result<Option<Segment>> {
        let mut buffer = [0; 128]; // headers are enough
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC) {
                Ok((held, _)) => {
                    let packet = &buffer[..held.min(buffer.len())];
                    if packet == self.last.as_slice() {
                        self.last.clear(); // its second appearance
                        continue;
                    }
                    self.last = packet.to_vec();
                    if let Some(segment) = parse(packet) {
                        return Ok(Some(segment));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
                    let wait = Timespec::try_from(patience).ok();
                    match poll(&mut fds, wait.as_ref()) {
                        Ok(0) => return Ok(None),
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// RFC 791 and RFC 9293; what is not TCP over IPv4, or cut short, is `None`.
fn parse(packet: &[u8]) -> Option<Segment> {
    const TCP: u8 = 6;
    let ip = packet.first_chunk::<20>()?;
    let header = usize::from(ip[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    if ip[0] >> 4 != 4 || ip[9] != TCP || header < 20 {
        return None;
    }
    let tcp = packet.get(header..)?.first_chunk::<20>()?;
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    Some(Segment {
        at: Instant::now(),
        from: SocketAddrV4::new(address(12), port(0)),
        to: SocketAddrV4::new(address(16), port(2)),
        data: total.saturating_sub(header + usize::from(tcp[12] >> 4) * 4),
        fin: tcp[13] & 1 != 0,
        rst: tcp[13] & 4 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_packets_and_other_protocols_are_passed_over() {
        let mut packet = vec![0; 44];
        packet[..4].copy_from_slice(&[0x45, 0, 0, 44]);
        packet[9] = 6;
        packet[12..20].copy_from_slice(&[127, 0, 0, 1, 127, 0, 0, 2]);
        packet[20..24].copy_from_slice(&[0, 80, 1, 0]);
        packet[32] = 0x50;
        packet[33] = 0x14; // ACK, RST
        let segment = parse(&packet).unwrap();
        assert_eq!(
            (segment.from.to_string(), segment.to.to_string()),
            ("127.0.0.1:80".into(), "127.0.0.2:256".into())
        );
        assert_eq!((segment.data, segment.fin, segment.rst), (4, false, true));
        for short in 0..40 {
            assert_eq!(parse(&packet[..short]), None);
        }
        packet[9] = 17;
        assert_eq!(parse(&packet), None);
    }
}
