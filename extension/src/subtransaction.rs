//! Part of a transaction that can be undone alone, as a block of PL/pgSQL with an exception handler.

use std::panic::AssertUnwindSafe;
use std::ptr;

use pgrx::pg_sys::PgTryBuilder;
use pgrx::{pg_sys, PgSqlErrorCode};

use crate::error::Error;

/// None where a unique key was taken: then nothing of it is left. Any other error undoes it, too, and is raised.
pub fn unless_key_is_taken<T>(act: impl FnOnce() -> Result<T, Error>) -> Result<Option<T>, Error> {
    // SAFETY: what Postgres does for such a block. The memory and the owner of resources are those of the caller again when it has ended.
    unsafe {
        let (memory, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        let back = || {
            pg_sys::CurrentMemoryContext = memory;
            pg_sys::CurrentResourceOwner = owner;
        };
        let undo = || {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
            back();
        };
        pg_sys::BeginInternalSubTransaction(ptr::null());
        pg_sys::CurrentMemoryContext = memory;
        let done = PgTryBuilder::new(AssertUnwindSafe(|| act().map(Some)))
            .catch_when(PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION, |_| Ok(None))
            .catch_others(|error| {
                undo();
                error.rethrow()
            })
            .execute();
        if matches!(done, Ok(Some(_))) {
            pg_sys::ReleaseCurrentSubTransaction();
            back();
        } else {
            undo();
        }
        done
    }
}
