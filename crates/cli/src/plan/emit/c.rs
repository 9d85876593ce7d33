//! C: POSIX, or Winsock.

use deadpeer::System;

use super::{Wanted, Written, number};

pub(super) fn write(wanted: &Wanted<'_>) -> Written {
    let mut written = Written::default();
    if wanted.platform.fixed_probes.is_some() {
        io_control(wanted, &mut written);
        return written;
    }
    let windows = wanted.platform.system == System::Windows;
    match windows {
        true => written.line("#include <winsock2.h>\n#include <ws2tcpip.h>\n"),
        false => {
            written.line("#include <netinet/in.h>\n#include <netinet/tcp.h>\n#include <sys/socket.h>\n");
            // Headers are often older than the kernel.
            for option in &wanted.options {
                let (name, number) = (option.name, number(wanted.platform.system, option.name));
                if let ("TCP_USER_TIMEOUT" | "TCP_RTO_MAX_MS", Some(number)) = (name, number) {
                    written.line(format!("#ifndef {name}\n#define {name} {number}\n#endif\n"));
                }
            }
        }
    }
    let (socket, value) = if windows { ("SOCKET", "(const char *)&") } else { ("int", "&") };
    written.line(format!(
        "/* 0, or -1 with the error of the first option that was refused. */
int apply_keepalive({socket} socket)
{{
    static const struct {{ int level, name, value; }} options[] = {{"
    ));
    for option in &wanted.options {
        let level = if option.name == "SO_KEEPALIVE" { "SOL_SOCKET" } else { "IPPROTO_TCP" };
        let unit = if option.unit.is_empty() { String::new() } else { format!(" /* {} */", option.unit) };
        written.line(format!("        {{ {level}, {}, {}{unit} }},", option.name, option.value));
    }
    written.line(format!(
        "    }};
    for (unsigned i = 0; i < sizeof options / sizeof options[0]; i++)
        if (setsockopt(socket, options[i].level, options[i].name,
                       {value}options[i].value, sizeof options[i].value) != 0)
            return -1;
    return 0;
}}"
    ));
    written
}

/// Windows before 1703.
fn io_control(wanted: &Wanted<'_>, written: &mut Written) {
    let keepalive = wanted.keepalive;
    let bound = match wanted.bound() {
        Some((option, milliseconds)) => format!(
            "    DWORD seconds = {};
    if (setsockopt(socket, IPPROTO_TCP, {option}, (const char *)&seconds, sizeof seconds) != 0)
        return -1;\n",
            milliseconds.div_ceil(1000)
        ),
        None => String::new(),
    };
    written.line(format!(
        "#include <winsock2.h>
#include <ws2tcpip.h>
#include <mstcpip.h>

/* 0, or -1 with WSAGetLastError(). The number of probes is always ten. */
int apply_keepalive(SOCKET socket)
{{
{bound}    struct tcp_keepalive values = {{ 1, {}, {} }}; /* on, ms, ms */
    DWORD returned;
    return WSAIoctl(socket, SIO_KEEPALIVE_VALS, &values, sizeof values, NULL, 0, &returned, NULL, NULL);
}}",
        keepalive.idle().as_millis(),
        keepalive.interval().as_millis(),
    ));
}
