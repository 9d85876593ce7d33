//! postgresql.conf: PostgreSQL 12 and later.

use super::{Wanted, Written};

pub(super) fn write(wanted: &Wanted<'_>) -> Written {
    let mut written = Written::default();
    let keepalive = wanted.keepalive;
    let user_timeout = wanted.user_timeout(&mut written, "PostgreSQL");
    written.line(format!(
        "tcp_keepalives_idle = {}\ntcp_keepalives_interval = {}\ntcp_keepalives_count = {}",
        Wanted::seconds(keepalive.idle()),
        Wanted::seconds(keepalive.interval()),
        keepalive.probes(),
    ));
    if let Some(milliseconds) = user_timeout {
        written.line(format!("tcp_user_timeout = {milliseconds}"));
    }
    wanted.without_rto_max(&mut written, "PostgreSQL");
    let bound = user_timeout.map(|ms| format!(" tcp_user_timeout={ms}")).unwrap_or_default();
    written.line(format!(
        "# The same for a client, in its connection string:\n\
         # keepalives=1 keepalives_idle={} keepalives_interval={} keepalives_count={}{bound}",
        Wanted::seconds(keepalive.idle()),
        Wanted::seconds(keepalive.interval()),
        keepalive.probes(),
    ));
    written
}
