//! The system's defaults: Documentation/networking/ip-sysctl.rst.
//!
//! They belong to the network namespace of the thread that reads them.

use std::str::FromStr;
use std::time::Duration;

use deadpeer_core::{Connecting, Keepalive, Platform};

/// Reads this system's defaults. What can't be read keeps Linux's own.
pub fn platform() -> Platform {
    let mut platform = Platform::linux();
    let default = platform.keepalive;
    let seconds = |name, default: Duration| read(name).map_or(default, Duration::from_secs);
    platform.keepalive = Keepalive::new(
        seconds("tcp_keepalive_time", default.idle()),
        seconds("tcp_keepalive_intvl", default.interval()),
        read("tcp_keepalive_probes").unwrap_or(default.probes()),
    )
    .unwrap_or(default);
    platform.retries = read("tcp_retries2").unwrap_or(platform.retries);
    // Before Linux 6.5 all pauses between SYNs double.
    platform.connecting = Connecting::Retries {
        doubling: read("tcp_syn_retries").unwrap_or(6),
        equal: read("tcp_syn_linear_timeouts").unwrap_or(0),
    };
    platform.rto_max_per_socket = read::<u64>("tcp_rto_max_ms").is_some();
    platform.rto_max = rto_max();
    platform
}

/// The longest pause between retransmissions where a socket has none of its own.
pub(super) fn rto_max() -> Duration {
    read("tcp_rto_max_ms").map_or(Duration::from_secs(120), Duration::from_millis)
}

fn read<T: FromStr>(name: &str) -> Option<T> {
    let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}
