//! A connection that its own host has forgotten.

use std::io;
use std::os::fd::AsFd;

use deadpeer_os::linux::sockopt::{self, TCP_REPAIR};
use rustix::net::connect_unspec;

/// Leaves repair mode without a window probe: linux/tcp.h, `TCP_REPAIR_OFF_NO_WP`.
const OFF_SILENTLY: i32 = -1;

/// Ends a connection at this end and tells nobody: the other end learns of it by an RST, once it sends.
///
/// So it is when the peer's host has rebooted, or when a NAT or firewall that refuses what it doesn't know
/// has lost its mapping. No FIN and no RST leave by themselves: a peer that only waits goes on waiting. The
/// socket is then closed, whoever else holds a descriptor of it. This can't be undone.
///
/// ```no_run
/// # use deadpeer_lab::{Pair, forget};
/// # use std::io::{ErrorKind, Read, Write};
/// let mut pair = Pair::loopback()?;
/// forget(&pair.server)?;
/// pair.client.write_all(b"hello")?; // is answered by RST
/// assert_eq!(pair.client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` in the user namespace that owns the socket's network namespace, which an
/// [isolated](crate::isolated!) test has, or for a listener. The connection is then as it was.
#[doc(alias = "TCP_REPAIR")]
pub fn forget(sock: &impl AsFd) -> io::Result<()> {
    let sock = sock.as_fd();
    sockopt::set(sock, TCP_REPAIR, 1)?;
    // In repair mode `tcp_disconnect` sends nothing.
    let forgotten = connect_unspec(sock);
    let left = sockopt::set(sock, TCP_REPAIR, OFF_SILENTLY);
    forgotten?;
    left
}
