//! Objects behind handles.
//!
//! A handle looks like a pointer to C, which so can't mix the types up; it is a number that is never looked
//! behind and never given twice. A null, freed, foreign or invented handle is therefore an error, always:
//! there is no memory to misread.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::error::Error;

/// Shared by all tables: a handle of one kind is not in the table of another.
static NEXT: AtomicUsize = AtomicUsize::new(1);

type Table<T> = HashMap<usize, Arc<Mutex<T>>>;

/// All objects of one kind; `T` is the type, `H` the name that C knows it by.
pub(crate) struct Handles<T> {
    what: &'static str,
    table: RwLock<Option<Table<T>>>,
}

impl<T> Handles<T> {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, table: RwLock::new(None) }
    }

    pub(crate) fn insert<H>(&self, object: T) -> *mut H {
        // As far apart as aligned pointers are.
        let number = NEXT.fetch_add(1, Ordering::Relaxed) * 16;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.get_or_insert_default().insert(number, Arc::new(Mutex::new(object)));
        std::ptr::without_provenance_mut(number)
    }

    /// Calls of several threads on one object come one after the other.
    pub(crate) fn with<H, R>(
        &self,
        handle: *const H,
        body: impl FnOnce(&mut T) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let object = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            table.as_ref().and_then(|table| table.get(&handle.addr())).cloned()
        };
        let object = object.ok_or_else(|| self.unknown(handle))?;
        let mut object = object.lock().map_err(|_| Error::bug("an earlier call on this object panicked"))?;
        body(&mut object)
    }

    /// Freeing null is nothing, as free(3) has it.
    pub(crate) fn remove<H>(&self, handle: *mut H) -> Result<(), Error> {
        if handle.is_null() {
            return Ok(());
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let object = table.as_mut().and_then(|table| table.remove(&handle.addr()));
        drop(table); // the object's own end may take its time
        object.map(drop).ok_or_else(|| self.unknown(handle))
    }

    fn unknown<H>(&self, handle: *const H) -> Error {
        let what = self.what;
        match handle.is_null() {
            true => Error::invalid(format_args!("the {what} is a null pointer")),
            false => Error::invalid(format_args!("{handle:p} is no {what}, or was freed")),
        }
    }
}
