//! Children: ended with their owner, stopped, and let go on.

use std::collections::HashSet;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;

use windows_sys::Win32::Foundation::{ERROR_NO_MORE_FILES, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, SetInformationJobObject,
};
use windows_sys::Win32::System::Threading::{OpenThread, ResumeThread, SuspendThread, THREAD_SUSPEND_RESUME};

/// A job whose processes end when it is dropped, or when its owner ends, however that happens.
#[derive(Debug)]
pub struct Job {
    _handle: OwnedHandle,
}

impl Job {
    /// A job with one process in it.
    ///
    /// # Errors
    /// Of CreateJobObject, SetInformationJobObject and AssignProcessToJobObject.
    pub fn of(process: BorrowedHandle<'_>) -> io::Result<Self> {
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        // SAFETY: neither attributes nor a name are given.
        let job = unsafe { owned(CreateJobObjectW(null(), null())) }?;
        // SAFETY: `job` is open; Windows reads one structure of the class that is named.
        yes(unsafe {
            SetInformationJobObject(
                job.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size_of_val(&limits) as u32,
            )
        })?;
        // SAFETY: both handles are open.
        yes(unsafe { AssignProcessToJobObject(job.as_raw_handle(), process.as_raw_handle()) })?;
        Ok(Self { _handle: job })
    }
}

/// Threads that stand still until this is dropped.
#[derive(Debug)]
pub struct Suspended {
    threads: Vec<OwnedHandle>,
}

/// Stops all threads of a process. The caller keeps the process from being reaped, or its number may be
/// another's.
///
/// # Errors
/// `NotFound` if it has no threads left; else of CreateToolhelp32Snapshot, OpenThread and SuspendThread, with all
/// threads going on.
pub fn suspend(process: u32) -> io::Result<Suspended> {
    let mut suspended = Suspended { threads: Vec::new() };
    let mut seen = HashSet::new();
    // A thread that still runs may start another: until no new one is to be seen.
    loop {
        let before = seen.len();
        for number in threads(process)?.into_iter().filter(|number| seen.insert(*number)) {
            // SAFETY: it takes a number, and says if that is nobody's.
            let thread = unsafe { owned(OpenThread(THREAD_SUSPEND_RESUME, 0, number)) }?;
            // SAFETY: `thread` is open, with the right to suspend it.
            if unsafe { SuspendThread(thread.as_raw_handle()) } == u32::MAX {
                return Err(io::Error::last_os_error());
            }
            suspended.threads.push(thread);
        }
        if seen.len() == before {
            break;
        }
    }
    match suspended.threads.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended")),
        false => Ok(suspended),
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        for thread in &self.threads {
            // SAFETY: it is open, with the right to resume it. It fails only if the thread has ended.
            unsafe { ResumeThread(thread.as_raw_handle()) };
        }
    }
}

/// The numbers of a process' threads.
fn threads(process: u32) -> io::Result<Vec<u32>> {
    // SAFETY: it takes numbers only; threads are always those of all processes.
    let all = unsafe { owned(CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0)) }?;
    let mut entry = THREADENTRY32 { dwSize: size_of::<THREADENTRY32>() as u32, ..THREADENTRY32::default() };
    let mut numbers = Vec::new();
    // SAFETY: `all` is a snapshot; Windows writes one entry, of the size that it says.
    let mut more = yes(unsafe { Thread32First(all.as_raw_handle(), &mut entry) });
    while more.is_ok() {
        if entry.th32OwnerProcessID == process {
            numbers.push(entry.th32ThreadID);
        }
        // SAFETY: as above.
        more = yes(unsafe { Thread32Next(all.as_raw_handle(), &mut entry) });
    }
    match more {
        Err(error) if error.raw_os_error() != Some(ERROR_NO_MORE_FILES.cast_signed()) => Err(error),
        _ => Ok(numbers),
    }
}

fn yes(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// # Safety
/// `handle` is nobody else's, or none.
unsafe fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
