// To notice a death within 30 s, survive an outage of 8 s, on Linux.
// Cargo.toml: socket2 = { version = "0.6", features = ["all"] }

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// For each connection; what a listener has is inherited by those that it accepts (Linux).
pub fn apply(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(Duration::from_millis(26632)))?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_millis(15000))
        .with_interval(Duration::from_millis(1000))
        .with_retries(10);
    socket.set_tcp_keepalive(&keepalive)
}
