//! How a call fails: a negative number, a text and a system error number for this thread, never a panic.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char, c_int};
use std::fmt::Display;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a function returns when it fails. `deadpeer_last_error()` has the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "for C to use")]
pub enum deadpeer_status {
    /// No failure.
    Ok = 0,
    /// An argument is wrong: a null pointer, a handle that was freed or is none, a number out of its range, a
    /// structure whose `size` was not set.
    Invalid = -1,
    /// A system call failed; `deadpeer_last_errno()` has its error number.
    System = -2,
    /// What is wanted contradicts itself, or can't be had on this system.
    Unreachable = -3,
    /// The peer sent what it may not, or this side may not say that now.
    Protocol = -4,
    /// Too much waits to be written: write it first.
    Full = -5,
    /// A defect of this library. The object of the call must not be used any more, except to free it.
    Bug = -6,
}

/// A failed call on its way out.
#[derive(Debug)]
pub(crate) struct Error {
    status: deadpeer_status,
    errno: c_int,
    text: String,
}

impl Error {
    fn new(status: deadpeer_status, text: impl Display) -> Self {
        Self { status, errno: 0, text: text.to_string() }
    }

    pub(crate) fn invalid(text: impl Display) -> Self {
        Self::new(deadpeer_status::Invalid, text)
    }

    pub(crate) fn unreachable(text: impl Display) -> Self {
        Self::new(deadpeer_status::Unreachable, text)
    }

    pub(crate) fn protocol(text: impl Display) -> Self {
        Self::new(deadpeer_status::Protocol, text)
    }

    pub(crate) fn full(text: impl Display) -> Self {
        Self::new(deadpeer_status::Full, text)
    }

    pub(crate) fn bug(text: impl Display) -> Self {
        Self::new(deadpeer_status::Bug, format_args!("a defect of deadpeer, please report it: {text}"))
    }

    /// A system call failed with `source`, as `text` tells.
    pub(crate) fn system(text: impl Display, source: &io::Error) -> Self {
        let errno = source.raw_os_error().unwrap_or(0);
        Self { errno, ..Self::new(deadpeer_status::System, text) }
    }
}

thread_local! {
    static TEXT: RefCell<CString> = RefCell::default();
    static ERRNO: Cell<c_int> = const { Cell::new(0) };
}

/// Runs what a function does, and turns failures and panics into a number.
pub(crate) fn status(body: impl FnOnce() -> Result<c_int, Error>) -> c_int {
    or(|error| error.status as c_int, body)
}

/// As [`status`], for functions that return something else: `failed` makes it of the error.
pub(crate) fn or<T>(failed: impl FnOnce(&Error) -> T, body: impl FnOnce() -> Result<T, Error>) -> T {
    // What a panic leaves half done stays behind a poisoned lock (`Handles::with`): nobody sees it.
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(Error::bug(said(&*panic))));
    result.unwrap_or_else(|error| {
        keep(&error);
        failed(&error)
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a panic",
    }
}

fn keep(error: &Error) {
    let text = error.text.replace('\0', "?");
    // Both fail only while the thread ends, when nobody can ask any more.
    let _ = TEXT.try_with(|kept| *kept.borrow_mut() = CString::new(text).unwrap_or_default());
    let _ = ERRNO.try_with(|kept| kept.set(error.errno));
}

/// Why the last call that failed on this thread failed, as a sentence in English; "" if none has. Successful
/// calls leave it alone. The text stays where it is until the next call fails on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn deadpeer_last_error() -> *const c_char {
    TEXT.try_with(|kept| kept.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// The system's error number of the last call that failed on this thread; 0 if no system call failed.
#[unsafe(no_mangle)]
pub extern "C" fn deadpeer_last_errno() -> c_int {
    ERRNO.try_with(Cell::get).unwrap_or(0)
}
