//! Structures that both sides know, perhaps in different versions.
//!
//! Each begins with `size`, which the caller sets to what *it* was compiled with. Fields are only ever added
//! at the end. So an old program gets the part that it knows from a newer library, and a newer program can
//! see by `size` how much an older library filled in.

use std::ffi::c_char;
use std::mem::size_of;
use std::time::Duration;

use crate::error::Error;

/// A time that never comes.
pub const DEADPEER_NEVER: i64 = -1;
/// A number that the system does not tell.
pub const DEADPEER_UNKNOWN: i64 = -2;

/// More than any version will ever have.
const ABSURD: usize = 64 * 1024;

/// A structure that C may read and write: `repr(C)`, `size` first.
///
/// # Safety
/// The first field is `size: usize`; every pattern of bytes is a valid value, or the type is only written.
pub(crate) unsafe trait Plain: Copy {
    /// The size of its first version.
    const FIRST: usize;
    const NAME: &'static str;

    fn set_size(&mut self, size: usize);
}

/// A caller's structure, to be filled in.
pub(crate) struct Out<T> {
    to: *mut T,
    size: usize,
}

impl<T: Plain> Out<T> {
    /// Looks at where an answer shall go, before anything is done that can't be done twice.
    ///
    /// # Safety
    /// `to` is null, or points to a structure whose `size` says how many bytes of it may be written.
    pub(crate) unsafe fn new(to: *mut T) -> Result<Self, Error> {
        // SAFETY: as the caller promises.
        let size = unsafe { size_of_caller(to) }?;
        Ok(Self { to, size })
    }

    /// As [`Out::new`]; null means that no answer is wanted.
    ///
    /// # Safety
    /// As [`Out::new`].
    pub(crate) unsafe fn optional(to: *mut T) -> Result<Option<Self>, Error> {
        // SAFETY: as the caller promises.
        if to.is_null() { Ok(None) } else { unsafe { Self::new(to) }.map(Some) }
    }

    pub(crate) fn fill(self, mut value: T) {
        let size = self.size.min(size_of::<T>());
        value.set_size(size);
        // SAFETY: `to` has `size` bytes to write (see `new`), `value` has them to read, they don't overlap,
        // and bytes need no alignment.
        unsafe { std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), self.to.cast::<u8>(), size) };
    }
}

/// Reads a caller's structure over `value`, which has the defaults.
///
/// # Safety
/// `from` is null, or points to a structure whose `size` says how many bytes of it may be read; every pattern
/// of bytes is a valid `T`.
pub(crate) unsafe fn read<T: Plain>(from: *const T, mut value: T) -> Result<T, Error> {
    // SAFETY: as the caller promises.
    let size = unsafe { size_of_caller(from) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: `from` has `size` bytes to read, `value` has room for `known`, they don't overlap, and any bytes
    // are a valid `T`.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast::<u8>(), known) };
    // What this library doesn't know must not be asked for: as openat2(2) has it.
    let asked = |at: usize| {
        // SAFETY: `at` is below `size`.
        unsafe { from.cast::<u8>().add(at).read() != 0 }
    };
    if (known..size).any(asked) {
        let name = T::NAME;
        return Err(Error::invalid(format_args!("{name} asks for what this older library does not know")));
    }
    Ok(value)
}

/// # Safety
/// `structure` is null, or points to memory that begins with a `size_t`.
unsafe fn size_of_caller<T: Plain>(structure: *const T) -> Result<usize, Error> {
    let name = T::NAME;
    if structure.is_null() {
        return Err(Error::invalid(format_args!("the {name} is a null pointer")));
    }
    // SAFETY: `size` is the first field.
    let size = unsafe { structure.cast::<usize>().read_unaligned() };
    if !(T::FIRST..=ABSURD).contains(&size) {
        return Err(Error::invalid(format_args!(
            "{name}.size is {size}: set it to sizeof({name}), {} here, before the call",
            size_of::<T>()
        )));
    }
    Ok(size)
}

/// A text with its final zero, cut where there is no more room.
pub(crate) fn text<const N: usize>(text: &str) -> [c_char; N] {
    let end = (0..=text.len().min(N - 1)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let mut chars = [0; N];
    for (char, byte) in chars.iter_mut().zip(&text.as_bytes()[..end]) {
        *char = *byte as c_char;
    }
    chars
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn known_millis(duration: Option<Duration>) -> i64 {
    duration.map_or(DEADPEER_UNKNOWN, millis)
}

/// A range of times.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct deadpeer_range {
    /// Not before: milliseconds, `DEADPEER_NEVER` or `DEADPEER_UNKNOWN`.
    pub least_ms: i64,
    /// Not after: milliseconds, `DEADPEER_NEVER` or `DEADPEER_UNKNOWN`.
    pub most_ms: i64,
}

impl From<library::Bound> for deadpeer_range {
    fn from(bound: library::Bound) -> Self {
        let both = |value| Self { least_ms: value, most_ms: value };
        match bound {
            library::Bound::Within { least, most } => Self { least_ms: millis(least), most_ms: millis(most) },
            library::Bound::Never => both(DEADPEER_NEVER),
            library::Bound::Unknown(_) => both(DEADPEER_UNKNOWN),
        }
    }
}

/// Makes a structure [`Plain`]: `plain!(name, ends with field: type)`, the last field of its first version.
macro_rules! plain {
    ($name:ident, ends with $last:ident: $type:ty) => {
        // SAFETY: `size` is first, as `offset_of` checks; all fields are numbers, or the type is only written.
        unsafe impl $crate::plain::Plain for $name {
            const FIRST: usize = {
                assert!(std::mem::offset_of!(Self, size) == 0);
                std::mem::offset_of!(Self, $last) + std::mem::size_of::<$type>()
            };
            const NAME: &'static str = stringify!($name);

            fn set_size(&mut self, size: usize) {
                self.size = size;
            }
        }
    };
}
pub(crate) use plain;
