//! The system's defaults: `HKLM\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters`.

use std::net::{Ipv4Addr, TcpListener};
use std::os::windows::io::AsSocket;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::time::Duration;

use deadpeer_core::{Known, Platform, Why};
use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_DWORD, RegGetValueW};
use windows_sys::core::{PCWSTR, w};

use super::sockopt;

/// Reads this system's defaults. What the registry does not say keeps Windows' own.
///
/// Where a socket has no `TCP_KEEPIDLE`, it is a Windows before 1709, whose ten probes are fixed.
pub fn platform() -> Platform {
    let mut platform = if has_newer_options() { Platform::windows() } else { Platform::windows_1607() };
    let milliseconds =
        |value: Option<u32>, default| value.map_or(default, |ms| Known::Is(Duration::from_millis(ms.into())));
    let values = values();
    platform.keepalive.idle = milliseconds(values.idle, platform.keepalive.idle);
    platform.keepalive.interval = milliseconds(values.interval, platform.keepalive.interval);
    if let Some(retries) = values.retransmissions {
        platform.retries = u8::try_from(retries).map_or(Known::Not(Why::OutOfRange), Known::Is);
    }
    platform
}

/// What the registry says; `None` where a value is not there, and Windows' own default rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// `KeepAliveTime`, milliseconds.
    pub idle: Option<u32>,
    /// `KeepAliveInterval`, milliseconds.
    pub interval: Option<u32>,
    /// `TcpMaxDataRetransmissions`.
    pub retransmissions: Option<u32>,
}

/// Reads the registry.
pub fn values() -> Values {
    Values {
        idle: read(w!("KeepAliveTime")),
        interval: read(w!("KeepAliveInterval")),
        retransmissions: read(w!("TcpMaxDataRetransmissions")),
    }
}

fn read(name: PCWSTR) -> Option<u32> {
    let mut value = 0u32;
    let mut length = size_of::<u32>() as u32;
    // SAFETY: both names are wide C strings; at most `length` bytes are written, to `value`, and only a DWORD
    // is asked for.
    let result = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            w!(r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters"),
            name,
            RRF_RT_REG_DWORD,
            null_mut(),
            (&raw mut value).cast(),
            &mut length,
        )
    };
    (result == ERROR_SUCCESS).then_some(value)
}

/// Asks a socket: neither version numbers nor their names tell of wine.
fn has_newer_options() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let Ok(socket) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else { return true };
        sockopt::get(socket.as_socket(), sockopt::TCP_KEEPIDLE).is_ok()
    })
}
