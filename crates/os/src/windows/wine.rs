//! Wine, which lends Windows' calls to Linux' sockets.

use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::s;

/// Whether this is wine: its ntdll has a function that Windows' has not. Wine 8 knows `SIO_KEEPALIVE_VALS`
/// and none of the newer options.
pub fn is_wine() -> bool {
    // SAFETY: both names are C strings; ntdll is in every process and stays.
    unsafe {
        let ntdll = GetModuleHandleA(s!("ntdll.dll"));
        !ntdll.is_null() && GetProcAddress(ntdll, s!("wine_get_version")).is_some()
    }
}
