//! Which system this is.

/// The system's release, to stand beside what was measured on it: "6.18.5" on Linux, elsewhere with the name
/// before it ("Windows 10.0.19045", and whether that is wine).
pub fn release() -> String {
    #[cfg(windows)]
    return format!("Windows {}", deadpeer_os::windows::release());
    #[cfg(unix)]
    {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy();
        match cfg!(target_os = "linux") {
            true => release.into_owned(),
            false => format!("{} {release}", uname.sysname().to_string_lossy()),
        }
    }
}
