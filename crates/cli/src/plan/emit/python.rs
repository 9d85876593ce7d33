//! Python, with its own socket module.

use super::{Wanted, Written, number};

pub(super) fn write(wanted: &Wanted<'_>) -> Written {
    let mut written = Written::default();
    written.line("import socket\n\n\ndef apply(sock: socket.socket) -> None:");
    if wanted.platform.fixed_probes.is_some() {
        if let Some((option, milliseconds)) = wanted.bound() {
            let seconds = milliseconds.div_ceil(1000);
            written.line(format!("    sock.setsockopt(socket.IPPROTO_TCP, 5, {seconds})  # {option}, s"));
        }
        let keepalive = wanted.keepalive;
        written.line(format!(
            "    # On, ms, ms; ten probes.\n    sock.ioctl(socket.SIO_KEEPALIVE_VALS, (1, {}, {}))",
            keepalive.idle().as_millis(),
            keepalive.interval().as_millis(),
        ));
        return written;
    }
    for option in &wanted.options {
        let unit = if option.unit.is_empty() { String::new() } else { format!(", {}", option.unit) };
        // By number: not every version of Python has all names.
        match number(wanted.platform.system, option.name) {
            Some(number) => written.line(format!(
                "    sock.setsockopt(socket.IPPROTO_TCP, {number}, {})  # {}{unit}",
                option.value, option.name
            )),
            None => written.line(format!(
                "    sock.setsockopt(socket.SOL_SOCKET, socket.{}, {})",
                option.name, option.value
            )),
        }
    }
    written
}
