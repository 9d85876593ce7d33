//! A .reg file: Windows' defaults, for programs that turn keepalive on and set nothing else.

use deadpeer::System;

use super::{Wanted, Written};

/// Where tcpip.sys looks, at the start of the system.
const KEY: &str = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";

pub(super) fn write(wanted: &Wanted<'_>) -> Written {
    let mut written = Written::default();
    let keepalive = wanted.keepalive;
    if wanted.platform.system != System::Windows {
        written.cannot("keepalive", &format!("{} has no registry", wanted.platform.system));
        return written;
    }
    written.cannot("SO_KEEPALIVE", "each program turns keepalive on for itself");
    if keepalive.probes() != 10 && wanted.platform.fixed_probes.is_none() {
        written.cannot("TCP_KEEPCNT", "ten probes are sent where a program does not say otherwise");
    }
    if let Some((option, _)) = wanted.bound() {
        let why = "TcpMaxDataRetransmissions counts, for all connections, and says no time; data in flight keeps \
                   its five";
        written.cannot(option, why);
    }
    written.line("; Both in milliseconds. They count from the next start of the system.");
    written.line(format!("[{KEY}]"));
    for (name, time) in [("KeepAliveTime", keepalive.idle()), ("KeepAliveInterval", keepalive.interval())] {
        written.line(format!("\"{name}\"=dword:{:08x}", time.as_millis()));
    }
    written
}

/// Its first line is fixed, and its lines end as Windows' do.
pub(super) fn file(text: &str) -> String {
    format!("Windows Registry Editor Version 5.00\n\n{text}").replace('\n', "\r\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use deadpeer::{Platform, Policy};

    use crate::plan::emit::{Target, emit};

    #[test]
    fn a_file_for_windows_and_a_refusal_for_others() {
        let policy = Policy::detect(Duration::from_secs(40)).survive(Duration::from_secs(5)).build().unwrap();
        let text = |platform: Platform| {
            let plan = policy.plan(&platform).unwrap();
            emit(Target::WindowsRegistry, &plan, &policy, &platform).text
        };
        let windows = text(Platform::windows());
        assert!(windows.starts_with("Windows Registry Editor Version 5.00\r\n\r\n; To notice a death"));
        assert!(windows.contains(
            "\r\n[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters]\r\n"
        ));
        assert!(
            windows.contains("\r\n\"KeepAliveTime\"=dword:0000")
                && windows.contains("TCP_KEEPCNT can't be set")
        );
        let old = text(Platform::windows_1607());
        assert!(!old.contains("TCP_KEEPCNT"), "ten are what it has: {old}");
        assert!(text(Platform::linux()).contains("Linux has no registry"));
    }
}
