//! Asking the first hop of a path whether it is there: ARP requests and neighbour solicitations through packet
//! sockets (packet(7), CAP_NET_RAW).
//!
//! The kernel's own table of neighbours proves nothing: an entry of a gateway that is dead stays `REACHABLE`
//! for up to 49 s. A question of our own changes no entry of ours; the answer may, as any answer does.

mod frame;

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A question whether a neighbour is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The interface to ask on.
    pub interface: u32,
    /// That interface's Ethernet address.
    pub ethernet: [u8; 6],
    /// Who asks for whom.
    pub ends: Ends,
}

/// Who asks for whom, in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// By ARP.
    V4 {
        /// An address of the interface; 0.0.0.0 where it has none (RFC 5227, a probe).
        sender: Ipv4Addr,
        /// The neighbour.
        target: Ipv4Addr,
    },
    /// By neighbour discovery.
    V6 {
        /// An address of the interface.
        sender: Ipv6Addr,
        /// The neighbour.
        target: Ipv6Addr,
    },
}

impl Question {
    /// Whether `answer` is one to this question: the neighbour's own word, sent to us. What it tells everybody
    /// proves only the way from it to us.
    pub fn is_answered_by(&self, answer: &Answer) -> bool {
        let (target, receiver) = match self.ends {
            Ends::V4 { target, .. } => (IpAddr::V4(target), Receiver::Ethernet(self.ethernet)),
            Ends::V6 { sender, target } => (IpAddr::V6(target), Receiver::Ip(sender)),
        };
        self.interface == answer.interface && target == answer.from && receiver == answer.to
    }
}

/// What a neighbour said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    interface: u32,
    from: IpAddr,
    to: Receiver,
}

impl Answer {
    /// The interface and the neighbour.
    pub const fn from(&self) -> (u32, IpAddr) {
        (self.interface, self.from)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    Ethernet([u8; 6]),
    Ip(Ipv6Addr),
}

/// By which protocol neighbours are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// ARP, for IPv4 addresses.
    V4,
    /// Neighbour discovery, for IPv6 addresses.
    V6,
}

impl Family {
    /// That of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn ethertype(self) -> u16 {
        match self {
            Self::V4 => libc::ETH_P_ARP as u16,
            Self::V6 => libc::ETH_P_IPV6 as u16,
        }
    }
}

/// A packet socket for questions of one family, in the network namespace of the thread that opened it. It hears
/// the answers on all interfaces, and nothing else.
#[derive(Debug)]
pub struct Asker {
    fd: OwnedFd,
    family: Family,
}

impl Asker {
    /// Opens one.
    ///
    /// # Errors
    /// Of socket(2), setsockopt(2), bind(2): EPERM without CAP_NET_RAW in the user namespace that owns this
    /// network namespace; EAFNOSUPPORT without packet sockets in this kernel.
    pub fn open(family: Family) -> io::Result<Self> {
        // Protocol 0: nothing arrives before the filter is there.
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket(2) takes three numbers and touches no memory of ours.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, so nobody else owns it.
        let asker = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, family };
        asker.filter()?;
        asker.bind()?;
        Ok(asker)
    }

    /// Lets only answers in, in the kernel already: else every IPv6 packet of this host would be copied here.
    fn filter(&self) -> io::Result<()> {
        const KEEP: u32 = 0xffff;
        // Where the packet's kind is written, and the value of an answer. IPv6: the next header and, without
        // extension headers, the ICMPv6 type.
        let checks: &[(u16, u32, u32)] = match self.family {
            Family::V4 => &[(libc::BPF_H as u16, 6, 2)],
            Family::V6 => &[(libc::BPF_B as u16, 6, 58), (libc::BPF_B as u16, 40, 136)],
        };
        let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut program = Vec::new();
        for (place, &(size, at, value)) in checks.iter().enumerate() {
            // To `ret 0`, over the checks that follow and `ret KEEP`.
            let to_drop = (2 * (checks.len() - place - 1) + 1) as u8;
            program.push(instruction(libc::BPF_LD | libc::BPF_ABS | u32::from(size), 0, 0, at));
            program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, to_drop, value));
        }
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, KEEP));
        program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0));
        let described = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: `self.fd` is open. The kernel reads one `sock_fprog` and, through its pointer, `len`
        // instructions; `program` has as many and lives until the end of this function. The kernel keeps a copy.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const described).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn bind(&self) -> io::Result<()> {
        let address = self.address(0, [0; 6]);
        // SAFETY: `self.fd` is open; the kernel reads `ADDRESS_LENGTH` bytes, the size of `address`.
        let result = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_LENGTH) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends a question.
    ///
    /// # Errors
    /// EINVAL for a question of the other family. Of sendto(2): ENXIO when the interface is gone, ENETDOWN when
    /// it is down, ENOBUFS when its queue is full.
    pub fn ask(&self, question: &Question) -> io::Result<()> {
        let family = match question.ends {
            Ends::V4 { .. } => Family::V4,
            Ends::V6 { .. } => Family::V6,
        };
        if family != self.family {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let (packet, to) = frame::write(question);
        let address = self.address(question.interface, to);
        // SAFETY: `self.fd` is open; the kernel reads `packet.len()` bytes of `packet` and `ADDRESS_LENGTH`
        // bytes, the size of `address`.
        let result = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                ADDRESS_LENGTH,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes one answer that has come; `None` when there is none (any more).
    ///
    /// # Errors
    /// Of recvfrom(2), but for EAGAIN, EINTR.
    pub fn answer(&self) -> io::Result<Option<Answer>> {
        loop {
            let mut packet = [0u8; 128]; // more than an answer's part that is looked at
            let mut address = self.address(0, [0; 6]);
            let mut length = ADDRESS_LENGTH;
            // SAFETY: `self.fd` is open; the kernel writes at most `packet.len()` bytes into `packet` and at
            // most `length` bytes into `address`, whose size that is; any bytes are valid for both.
            let received = unsafe {
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    packet.as_mut_ptr().cast(),
                    packet.len(),
                    0,
                    (&raw mut address).cast(),
                    &mut length,
                )
            };
            let Ok(received) = usize::try_from(received) else {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted => continue,
                    _ => return Err(error),
                }
            };
            // Overheard in promiscuous mode: not sent to us.
            if address.sll_pkttype == libc::PACKET_OTHERHOST {
                continue;
            }
            let interface = u32::try_from(address.sll_ifindex).unwrap_or(0);
            let packet = packet.get(..received).unwrap_or(&packet);
            let answer = match self.family {
                Family::V4 => frame::arp_reply(interface, packet),
                Family::V6 => frame::advertisement(interface, packet),
            };
            if answer.is_some() {
                return Ok(answer);
            }
        }
    }

    /// `struct sockaddr_ll`; interface 0 is any.
    fn address(&self, interface: u32, ethernet: [u8; 6]) -> libc::sockaddr_ll {
        let mut octets = [0; 8];
        octets[..6].copy_from_slice(&ethernet);
        libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: self.family.ethertype().to_be(),
            sll_ifindex: i32::try_from(interface).unwrap_or(0),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: ethernet.len() as u8,
            sll_addr: octets,
        }
    }
}

const ADDRESS_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
