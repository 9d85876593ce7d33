//! ioctlsocket and WSAIoctl.

use std::io;
use std::mem::MaybeUninit;
use std::os::windows::io::BorrowedSocket;
use std::ptr::null_mut;
use std::time::Duration;

use windows_sys::Win32::Networking::WinSock as ws;

use super::sockopt::{checked, raw};
use super::tcp_info::TcpInfo;
use crate::settings::milliseconds;

/// `SIO_KEEPALIVE_VALS`: turns keepalive on, with times in milliseconds, rounded up. Windows reads nothing
/// back and has no say in the number of probes: ten.
pub(super) fn keepalive_vals(sock: BorrowedSocket<'_>, idle: Duration, interval: Duration) -> io::Result<()> {
    let values = ws::tcp_keepalive {
        onoff: 1,
        keepalivetime: milliseconds(idle).cast_unsigned(),
        keepaliveinterval: milliseconds(interval).cast_unsigned(),
    };
    let mut written = 0;
    // SAFETY: `sock` is open for as long as it is borrowed; Winsock reads one `tcp_keepalive` and writes
    // nothing but `written`. Without OVERLAPPED the call is over when it returns.
    let result = unsafe {
        ws::WSAIoctl(
            raw(sock),
            ws::SIO_KEEPALIVE_VALS,
            (&raw const values).cast(),
            size_of::<ws::tcp_keepalive>() as u32,
            null_mut(),
            0,
            &mut written,
            null_mut(),
            None,
        )
    };
    checked(result)
}

/// `SIO_TCP_INFO`, version 0: Windows 10 1703. Zeroes where nothing was written.
pub(super) fn tcp_info(sock: BorrowedSocket<'_>) -> io::Result<TcpInfo> {
    let version = 0u32;
    let mut info = MaybeUninit::<ws::TCP_INFO_v0>::zeroed();
    let mut written = 0;
    // SAFETY: `sock` is open for as long as it is borrowed; Winsock reads one u32 and writes at most one
    // `TCP_INFO_v0`, which is there. Without OVERLAPPED the call is over when it returns.
    let result = unsafe {
        ws::WSAIoctl(
            raw(sock),
            ws::SIO_TCP_INFO,
            (&raw const version).cast(),
            size_of::<u32>() as u32,
            info.as_mut_ptr().cast(),
            size_of::<ws::TCP_INFO_v0>() as u32,
            &mut written,
            null_mut(),
            None,
        )
    };
    checked(result)?;
    if (written as usize) < size_of::<ws::TCP_INFO_v0>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "SIO_TCP_INFO returned too little"));
    }
    let info = info.as_ptr();
    // SAFETY: all of it was zeroed, then written; the fields read are integers, for which any bits do. Not so
    // `TimestampsEnabled`, a `bool` here and a byte there: no reference is made to the whole.
    Ok(unsafe {
        TcpInfo {
            state: (&raw const (*info).State).read(),
            rtt_us: (&raw const (*info).RttUs).read(),
            in_flight: (&raw const (*info).BytesInFlight).read(),
            own_window: (&raw const (*info).RcvWnd).read(),
        }
    })
}

/// Bytes that came and were not read.
pub(super) fn unread(sock: BorrowedSocket<'_>) -> io::Result<u32> {
    let mut bytes = 0u32;
    // SAFETY: `sock` is open for as long as it is borrowed; FIONREAD writes one u32, to `bytes`.
    let result = unsafe { ws::ioctlsocket(raw(sock), ws::FIONREAD, &mut bytes) };
    checked(result).map(|()| bytes)
}

/// Makes reads and writes return at once.
pub(super) fn set_nonblocking(sock: BorrowedSocket<'_>) -> io::Result<()> {
    let mut yes = 1u32;
    // SAFETY: `sock` is open for as long as it is borrowed; FIONBIO reads one u32, `yes`.
    let result = unsafe { ws::ioctlsocket(raw(sock), ws::FIONBIO, &mut yes) };
    checked(result)
}
