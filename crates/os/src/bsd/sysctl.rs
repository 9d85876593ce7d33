//! The system's defaults: sysctl(3).

use std::ffi::CStr;
use std::mem::size_of;
use std::ptr::null_mut;
use std::time::Duration;

use deadpeer_core::{Connecting, Keepalive, Platform};

/// Reads this system's defaults. What can't be read keeps the system's own.
pub fn platform() -> Platform {
    #[cfg(target_os = "macos")]
    let mut platform = Platform::macos();
    #[cfg(target_os = "freebsd")]
    let mut platform = Platform::freebsd();
    let default = platform.keepalive;
    // Milliseconds on both.
    let time = |name, default| read(name).map_or(default, |ms| Duration::from_millis(ms.into()));
    platform.keepalive = Keepalive::new(
        time(c"net.inet.tcp.keepidle", default.idle()),
        time(c"net.inet.tcp.keepintvl", default.interval()),
        read(c"net.inet.tcp.keepcnt").and_then(|n| u8::try_from(n).ok()).unwrap_or(default.probes()),
    )
    .unwrap_or(default);
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
