//! The kernel's list of TCP sockets: sock_diag(7), `inet_diag`.
//!
//! It shows the sockets of one network namespace to everybody, without privileges: that of the thread that
//! opened the netlink socket. It does not tell keepalive values.

mod row;

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use deadpeer_core::{Facts, TcpState};
use rustix::net::SocketAddrAny;

use super::netlink::{Error, Finish, Protocol, Request, Socket};
use super::receive_buffer;
use super::sockopt;
pub use row::{Cookie, Routing, Row, parse_row};

/// `SOCK_DIAG_BY_FAMILY`: type of requests and answers.
const BY_FAMILY: u16 = 20;
const INET_DIAG_INFO: u8 = 2;
const INET_DIAG_TOS: u8 = 5;
const INET_DIAG_TCLASS: u8 = 6;

/// The address family of a dump; the kernel lists one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`; with it the connections of IPv6 sockets to IPv4 peers.
    V6,
}

/// A set of states.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// All of them.
    pub const ALL: Self = Self(0x1fff & !1);

    /// The same without `state`.
    pub const fn without(self, state: TcpState) -> Self {
        Self(self.0 & !(1 << number(state)))
    }

    /// The same with `state`.
    pub const fn with(self, state: TcpState) -> Self {
        Self(self.0 | 1 << number(state))
    }

    /// Whether `state` is among them.
    pub const fn contains(self, state: TcpState) -> bool {
        self.0 & 1 << number(state) != 0
    }

    /// Just these.
    pub fn only(states: impl IntoIterator<Item = TcpState>) -> Self {
        Self(states.into_iter().fold(0, |set, state| {
            // A request without a socket of its own is listed as NEW_SYN_RECV.
            let also = if state == TcpState::SynReceived { 1 << 12 } else { 0 };
            set | 1 << number(state) | also
        }))
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "States({:#x})", self.0)
    }
}

const fn number(state: TcpState) -> u32 {
    match state {
        TcpState::Established => 1,
        TcpState::SynSent => 2,
        TcpState::SynReceived => 3,
        TcpState::FinWait1 => 4,
        TcpState::FinWait2 => 5,
        TcpState::TimeWait => 6,
        TcpState::Close => 7,
        TcpState::CloseWait => 8,
        TcpState::LastAck => 9,
        TcpState::Listen => 10,
        TcpState::Closing => 11,
    }
}

/// A netlink socket for questions about TCP sockets.
#[derive(Debug)]
pub struct Diag {
    socket: Socket,
}

impl Diag {
    /// Opens one for the network namespace of this thread.
    ///
    /// # Errors
    /// The system call's, for example EPROTONOSUPPORT on a kernel without netlink.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(Protocol::SockDiag)? })
    }

    /// Lists the sockets of one family. Returns whether the kernel said that the list is torn.
    ///
    /// # Errors
    /// ENOENT when this kernel has no `inet_diag` for TCP (module `tcp_diag`); [`Error::Overrun`] when the
    /// list has gaps; [`Error::Malformed`].
    pub fn dump(&mut self, family: Family, states: States, mut each: impl FnMut(Row)) -> Result<bool, Error> {
        let request = Request::new(BY_FAMILY, Request::DUMP).fixed(&request(family, states, None));
        self.socket.exchange(request, Finish::Done, |message| {
            if message.kind == BY_FAMILY {
                each(parse_row(message.payload)?);
            }
            Ok(())
        })
    }

    /// Looks at a connected socket of our own; `None` when it is not connected (any more).
    ///
    /// # Errors
    /// As [`Diag::dump`].
    pub fn own(&mut self, sock: BorrowedFd<'_>) -> Result<Option<Row>, Error> {
        match identity(sock) {
            Some(row) => self.again(&row),
            None => Ok(None),
        }
    }

    /// Ends a connection, whoever owns it: its owner sees ECONNABORTED at once, its peer RST.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, EOPNOTSUPP without CONFIG_INET_DIAG_DESTROY, ENOENT when it is gone.
    #[doc(alias = "SOCK_DESTROY")]
    pub fn destroy(&mut self, row: &Row) -> Result<(), Error> {
        const DESTROY: u16 = 21;
        let family = if row.local.is_ipv4() { Family::V4 } else { Family::V6 };
        let request = Request::new(DESTROY, Request::ACK).fixed(&request(family, States::ALL, Some(row)));
        self.socket.exchange(request, Finish::Done, |_| Ok(())).map(drop)
    }

    /// Looks at one socket again; `None` when it is gone, or its addresses belong to another by now.
    ///
    /// # Errors
    /// As [`Diag::dump`].
    pub fn again(&mut self, row: &Row) -> Result<Option<Row>, Error> {
        let family = if row.local.is_ipv4() { Family::V4 } else { Family::V6 };
        let request = Request::new(BY_FAMILY, 0).fixed(&request(family, States::ALL, Some(row)));
        let mut found = None;
        let answer = self.socket.exchange(request, Finish::First, |message| {
            found = Some(parse_row(message.payload)?);
            Ok(())
        });
        match answer {
            Ok(_) => Ok(found.filter(|found| found.cookie == row.cookie)),
            Err(error) if matches!(error.refusal(), Some(libc::ENOENT | libc::ESTALE)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// How sock_diag knows a socket of our own; `None` when it is not connected.
fn identity(sock: BorrowedFd<'_>) -> Option<Row> {
    let address = |raw: SocketAddrAny| {
        let address = SocketAddr::try_from(raw).ok()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    };
    Some(Row {
        local: address(rustix::net::getsockname(sock).ok()?)?,
        peer: address(rustix::net::getpeername(sock).ok()??)?,
        cookie: Cookie(rustix::net::sockopt::socket_cookie(sock).ok()?),
        inode: 0,
        uid: 0,
        interface: bound_to(sock),
        routing: Routing::default(),
        facts: Facts::new(TcpState::Established),
    })
}

/// The interface that a socket is bound to, 0 for none: sock_diag finds bound sockets with it only. A kernel
/// before 5.1 does not tell it.
fn bound_to(sock: BorrowedFd<'_>) -> u32 {
    sockopt::get(sock, sockopt::SO_BINDTOIFINDEX).ok().and_then(|index| index.try_into().ok()).unwrap_or(0)
}

/// `struct inet_diag_req_v2`.
fn request(family: Family, states: States, one: Option<&Row>) -> [u8; 56] {
    let mut bytes = [0; 56];
    bytes[0] = match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    };
    bytes[1] = libc::IPPROTO_TCP as u8;
    // The mark needs no wish: it is told with CAP_NET_ADMIN, and else not.
    let wanted = [INET_DIAG_INFO, INET_DIAG_TOS, INET_DIAG_TCLASS].iter().map(|wanted| 1 << (wanted - 1));
    bytes[2] = wanted.fold(receive_buffer::extension(), |all, wanted: u8| all | wanted);
    bytes[4..8].copy_from_slice(&states.0.to_ne_bytes());
    if let Some(row) = one {
        row.write_id(&mut bytes[8..56]);
    }
    bytes
}

#[cfg(test)]
mod tests;
