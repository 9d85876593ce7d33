//! Rust, with the crate socket2.

use deadpeer::System;

use super::{Wanted, Written};

pub(super) fn write(wanted: &Wanted<'_>) -> Written {
    let mut written = Written::default();
    let keepalive = wanted.keepalive;
    let probes = match wanted.platform.fixed_probes {
        Some(_) => String::new(),
        None => format!("\n        .with_retries({})", keepalive.probes()),
    };
    let linux = wanted.platform.system == System::Linux;
    let bound = match wanted.bound() {
        Some((_, milliseconds)) if linux => {
            format!("    socket.set_tcp_user_timeout(Some(Duration::from_millis({milliseconds})))?;\n")
        }
        _ => String::new(),
    };
    if let Some((option, _)) = wanted.bound().filter(|_| !linux) {
        written.cannot(option, "socket2 has no function for it (libc::setsockopt has)");
    }
    if wanted.rto_max().is_some() {
        written.cannot("TCP_RTO_MAX_MS", "socket2 has no function for it (deadpeer::apply sets it)");
    }
    written.line(format!(
        "// Cargo.toml: socket2 = {{ version = \"0.6\", features = [\"all\"] }}

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use socket2::{{SockRef, TcpKeepalive}};

/// For each connection; what a listener has is inherited by those that it accepts (Linux).
pub fn apply(stream: &TcpStream) -> io::Result<()> {{
    let socket = SockRef::from(stream);
{bound}    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_millis({}))
        .with_interval(Duration::from_millis({})){probes};
    socket.set_tcp_keepalive(&keepalive)
}}",
        keepalive.idle().as_millis(),
        keepalive.interval().as_millis(),
    ));
    written
}
