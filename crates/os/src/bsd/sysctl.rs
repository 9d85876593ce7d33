//! The system's defaults: sysctl(3).

use std::ffi::CStr;
use std::mem::size_of;
use std::ptr::null_mut;
use std::time::Duration;

use deadpeer_core::{Connecting, KeepaliveDefaults, Known, Platform, Why};

/// Reads this system's defaults.
pub fn platform() -> Platform {
    #[cfg(target_os = "macos")]
    let mut platform = Platform::macos();
    #[cfg(target_os = "freebsd")]
    let mut platform = Platform::freebsd();
    // Milliseconds on both.
    let time = |name| {
        let milliseconds = read(name).map(u64::from).map(Duration::from_millis);
        milliseconds.map_or(Known::Not(Why::UnreadableDefault), Known::Is)
    };
    platform.keepalive = KeepaliveDefaults {
        idle: time(c"net.inet.tcp.keepidle"),
        interval: time(c"net.inet.tcp.keepintvl"),
        probes: match read(c"net.inet.tcp.keepcnt").map(u8::try_from) {
            Some(Ok(probes)) => Known::Is(probes),
            Some(Err(_)) => Known::Not(Why::OutOfRange),
            None => Known::Not(Why::UnreadableDefault),
        },
    };
    if let Some(least) = read(c"net.inet.tcp.keepinit").map(|ms| Duration::from_millis(ms.into())) {
        platform.connecting = Connecting::Within { least, most: least + Duration::from_secs(10) };
    }
    platform
}

/// An integer of the kernel's.
fn read(name: &CStr) -> Option<u32> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>();
    // SAFETY: `name` is a C string; the kernel writes at most `length` bytes, to `value`; nothing is set.
    let result =
        unsafe { libc::sysctlbyname(name.as_ptr(), (&raw mut value).cast(), &mut length, null_mut(), 0) };
    if result < 0 || length != size_of::<libc::c_int>() {
        return None;
    }
    u32::try_from(value).ok()
}
