//! Which Windows this is.

use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::SystemInformation::OSVERSIONINFOW;
use windows_sys::s;

/// "10.0.19045"; under wine the version that it plays, and that it is wine. For people: nothing goes by it.
pub fn release() -> String {
    let mut version = OSVERSIONINFOW {
        dwOSVersionInfoSize: size_of::<OSVERSIONINFOW>() as u32,
        ..OSVERSIONINFOW::default()
    };
    // SAFETY: Windows writes one structure of the size that it says, and always can.
    unsafe { RtlGetVersion(&mut version) };
    let OSVERSIONINFOW { dwMajorVersion: major, dwMinorVersion: minor, dwBuildNumber: build, .. } = version;
    let wine = if is_wine() { " (wine)" } else { "" };
    format!("{major}.{minor}.{build}{wine}")
}

/// Whether this is wine, which lends Windows' calls to Linux' sockets: its ntdll has a function that Windows'
/// has not. Wine 8 knows `SIO_KEEPALIVE_VALS` and none of the newer options; wine 10 knows `TCP_KEEPIDLE`,
/// `TCP_KEEPINTVL` and `TCP_KEEPCNT`, but neither `TCP_MAXRT` nor `SIO_TCP_INFO`.
pub fn is_wine() -> bool {
    // SAFETY: both names are C strings; ntdll is in every process and stays.
    unsafe {
        let ntdll = GetModuleHandleA(s!("ntdll.dll"));
        !ntdll.is_null() && GetProcAddress(ntdll, s!("wine_get_version")).is_some()
    }
}
