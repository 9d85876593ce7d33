//! HAProxy 2.4 and later: keepalive of both sides, and tcp-ut on each bind and server line.

use super::{Wanted, Written};

pub(super) fn write(wanted: &Wanted<'_>) -> Written {
    let mut written = Written::default();
    let keepalive = wanted.keepalive;
    wanted.without_rto_max(&mut written, "HAProxy");
    written.line("defaults");
    for side in ["cli", "srv"] {
        written.line(format!(
            "    option {side}tcpka\n    {side}tcpka-idle {}s\n    {side}tcpka-intvl {}s\n    {side}tcpka-cnt {}",
            Wanted::seconds(keepalive.idle()),
            Wanted::seconds(keepalive.interval()),
            keepalive.probes(),
        ));
    }
    let bound = match wanted.user_timeout(&mut written, "HAProxy") {
        Some(milliseconds) => format!(" tcp-ut {milliseconds}ms"),
        None => String::new(),
    };
    written.line(format!(
        "\n# Each of your bind and server lines{}:\nfrontend example\n    bind 127.0.0.1:8080{bound}\n    \
         default_backend example\n\nbackend example\n    server one 127.0.0.1:8081{bound}",
        if bound.is_empty() { "" } else { " needs the tcp-ut" },
    ));
    written
}
