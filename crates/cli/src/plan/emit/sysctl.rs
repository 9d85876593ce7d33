//! sysctl.conf(5): the system's defaults.

use deadpeer::System;

use super::{Wanted, Written};

pub(super) fn write(wanted: &Wanted<'_>) -> Written {
    let mut written = Written::default();
    let keepalive = wanted.keepalive;
    match wanted.platform.system {
        System::Linux => {
            written.cannot("SO_KEEPALIVE", "each program turns keepalive on for itself");
            written.line(format!(
                "net.ipv4.tcp_keepalive_time = {}\nnet.ipv4.tcp_keepalive_intvl = {}\n\
                 net.ipv4.tcp_keepalive_probes = {}",
                Wanted::seconds(keepalive.idle()),
                Wanted::seconds(keepalive.interval()),
                keepalive.probes(),
            ));
            if wanted.rto_max().is_some() {
                let why = "as the default of the whole system it would lose data of every program, since none puts \
                           it back before it closes";
                written.cannot("TCP_RTO_MAX_MS", why);
            }
        }
        System::MacOs | System::FreeBsd => {
            // All of them in milliseconds, whatever the socket options take.
            written.line(format!(
                "net.inet.tcp.always_keepalive=1\nnet.inet.tcp.keepidle={}\nnet.inet.tcp.keepintvl={}\n\
                 net.inet.tcp.keepcnt={}",
                keepalive.idle().as_millis(),
                keepalive.interval().as_millis(),
                keepalive.probes(),
            ));
            if let (System::FreeBsd, Some((_, milliseconds))) = (wanted.platform.system, wanted.bound()) {
                written.line(format!("net.inet.tcp.maxunacktime={milliseconds}"));
                return written;
            }
        }
        other => written.cannot("keepalive", &format!("{other} has no sysctl")),
    }
    if let Some((option, _)) = wanted.bound() {
        written.cannot(option, "there is no system-wide default for it; data in flight stays unbounded");
    }
    written
}
