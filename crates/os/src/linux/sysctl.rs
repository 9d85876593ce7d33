//! The system's defaults: Documentation/networking/ip-sysctl.rst.
//!
//! They belong to the network namespace of the thread that reads them. What can't be read is unknown, never the
//! kernel's built-in default: somebody may have set it.

use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use deadpeer_core::{Connecting, KeepaliveDefaults, Known, Platform, Why};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::sockopt;

/// `TCP_RTO_MAX` of kernels that have no sysctl for it (include/net/tcp.h).
const FIXED_RTO_MAX: Duration = Duration::from_secs(120);

/// Reads this system's defaults.
pub fn platform() -> Platform {
    let mut platform = Platform::linux();
    platform.keepalive = KeepaliveDefaults {
        idle: number("tcp_keepalive_time").map(Duration::from_secs),
        interval: number("tcp_keepalive_intvl").map(Duration::from_secs),
        probes: byte("tcp_keepalive_probes"),
    };
    platform.retries = byte("tcp_retries2");
    platform.connecting = Connecting::Retries {
        doubling: byte("tcp_syn_retries"),
        equal: newer("tcp_syn_linear_timeouts", byte), // Linux 6.5
    };
    platform.rto_max_per_socket = has_rto_max();
    platform.rto_max = rto_max();
    platform
}

/// The longest pause between retransmissions where a socket has none of its own.
pub(super) fn rto_max() -> Known<Duration> {
    // Linux 6.15
    match newer("tcp_rto_max_ms", number) {
        Known::Not(Why::NotOnThisKernel) => Known::Is(FIXED_RTO_MAX),
        read => read.map(Duration::from_millis),
    }
}

/// Whether sockets have `TCP_RTO_MAX_MS`, by asking one; where none can be made, by the sysctl that came with
/// it.
fn has_rto_max() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let (stream, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
        let socket = [AddressFamily::INET, AddressFamily::INET6]
            .into_iter()
            .find_map(|family| rustix::net::socket_with(family, stream, flags, None).ok());
        match socket {
            Some(socket) => sockopt::get(socket.as_fd(), sockopt::TCP_RTO_MAX_MS).is_ok(),
            None => newer("tcp_rto_max_ms", number).value().is_some(),
        }
    })
}

/// Reads a sysctl that older kernels don't have.
fn newer<T>(name: &str, read: impl FnOnce(&str) -> Known<T>) -> Known<T> {
    let there = |name: &str| match std::fs::metadata(path(name)) {
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(_) => true,
    };
    // Where even the oldest is missing, sysctls are not visible here.
    match there(name) || !there("tcp_retries2") {
        true => read(name),
        false => Known::Not(Why::NotOnThisKernel),
    }
}

fn byte(name: &str) -> Known<u8> {
    match number(name).map(u8::try_from) {
        Known::Is(Ok(value)) => Known::Is(value),
        Known::Is(Err(_)) => Known::Not(Why::OutOfRange),
        Known::Not(why) => Known::Not(why),
    }
}

fn number(name: &str) -> Known<u64> {
    let Ok(text) = std::fs::read_to_string(path(name)) else { return Known::Not(Why::UnreadableDefault) };
    // A negative number is one that no formula covers.
    text.trim().parse().map_or(Known::Not(Why::OutOfRange), Known::Is)
}

fn path(name: &str) -> String {
    format!("/proc/sys/net/ipv4/{name}")
}
