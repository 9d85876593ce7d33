//! Linux' options by name.

pub use crate::unix::sockopt::{Name, get, get_bytes, set};

crate::option::names! {
    SO_REUSEADDR = libc::SOL_SOCKET, libc::SO_REUSEADDR;
    SO_KEEPALIVE = libc::SOL_SOCKET, libc::SO_KEEPALIVE;
    SO_MEMINFO = libc::SOL_SOCKET, libc::SO_MEMINFO;
    SO_ATTACH_FILTER = libc::SOL_SOCKET, libc::SO_ATTACH_FILTER;
    SO_DETACH_FILTER = libc::SOL_SOCKET, libc::SO_DETACH_FILTER;
    SO_BINDTOIFINDEX = libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX;
    SO_TIMESTAMPING = libc::SOL_SOCKET, libc::SO_TIMESTAMPING;
    SO_ZEROCOPY = libc::SOL_SOCKET, libc::SO_ZEROCOPY;
    IP_RECVERR = libc::IPPROTO_IP, libc::IP_RECVERR;
    TCP_KEEPIDLE = libc::IPPROTO_TCP, libc::TCP_KEEPIDLE;
    TCP_NODELAY = libc::IPPROTO_TCP, libc::TCP_NODELAY;
    // linux/tcp.h; libc has it for some targets only.
    TCP_NOTSENT_LOWAT = libc::IPPROTO_TCP, 25;
    TCP_KEEPINTVL = libc::IPPROTO_TCP, libc::TCP_KEEPINTVL;
    TCP_KEEPCNT = libc::IPPROTO_TCP, libc::TCP_KEEPCNT;
    TCP_LINGER2 = libc::IPPROTO_TCP, libc::TCP_LINGER2;
    TCP_INFO = libc::IPPROTO_TCP, libc::TCP_INFO;
    TCP_USER_TIMEOUT = libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT;
    TCP_REPAIR = libc::IPPROTO_TCP, libc::TCP_REPAIR;
    TCP_ZEROCOPY_RECEIVE = libc::IPPROTO_TCP, libc::TCP_ZEROCOPY_RECEIVE;
    // linux/tcp.h since 6.15; libc does not know it yet.
    TCP_RTO_MAX_MS = libc::IPPROTO_TCP, 44;
}
