//! The options of macOS (bsd/netinet/tcp.h in xnu) and FreeBSD (sys/netinet/tcp.h).

pub use crate::unix::sockopt::{Name, get, get_bytes, set};

crate::option::names! {
    SO_KEEPALIVE = libc::SOL_SOCKET, libc::SO_KEEPALIVE;
    TCP_NODELAY = libc::IPPROTO_TCP, libc::TCP_NODELAY;
    TCP_KEEPINTVL = libc::IPPROTO_TCP, libc::TCP_KEEPINTVL;
    TCP_KEEPCNT = libc::IPPROTO_TCP, libc::TCP_KEEPCNT;
}

#[cfg(target_os = "macos")]
crate::option::names! {
    // The idle time; elsewhere TCP_KEEPIDLE.
    TCP_KEEPALIVE = libc::IPPROTO_TCP, libc::TCP_KEEPALIVE;
    // Not TCP_CONNECTIONTIMEOUT (0x20), which is for connect() only. libc does not know it yet.
    TCP_RXT_CONNDROPTIME = libc::IPPROTO_TCP, 0x80;
    TCP_CONNECTION_INFO = libc::IPPROTO_TCP, libc::TCP_CONNECTION_INFO;
    SO_NWRITE = libc::SOL_SOCKET, libc::SO_NWRITE;
}

#[cfg(target_os = "freebsd")]
crate::option::names! {
    TCP_KEEPIDLE = libc::IPPROTO_TCP, libc::TCP_KEEPIDLE;
    TCP_MAXUNACKTIME = libc::IPPROTO_TCP, libc::TCP_MAXUNACKTIME;
    TCP_INFO = libc::IPPROTO_TCP, libc::TCP_INFO;
}

#[cfg(target_os = "macos")]
pub(super) use self::{TCP_CONNECTION_INFO as INFO, TCP_KEEPALIVE as IDLE, TCP_RXT_CONNDROPTIME as BOUND};
#[cfg(target_os = "freebsd")]
pub(super) use self::{TCP_INFO as INFO, TCP_KEEPIDLE as IDLE, TCP_MAXUNACKTIME as BOUND};
