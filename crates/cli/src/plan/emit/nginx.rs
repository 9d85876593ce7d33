//! nginx: the parameter so_keepalive of each listen directive.

use super::{Wanted, Written};

pub(super) fn write(wanted: &Wanted<'_>) -> Written {
    let mut written = Written::default();
    let keepalive = wanted.keepalive;
    wanted.without_bounds(&mut written, "nginx");
    written.line(format!(
        "server {{\n    listen 80 so_keepalive={}s:{}s:{};\n    \
         # To upstream servers nginx only turns keepalive on; the times are the system's (--emit sysctl).\n    \
         proxy_socket_keepalive on;\n}}",
        Wanted::seconds(keepalive.idle()),
        Wanted::seconds(keepalive.interval()),
        keepalive.probes(),
    ));
    written
}
