//! What Postgres does before each statement of a function, for functions in Rust.

use pgrx::pg_sys;

use crate::error::Error;

/// Acts with a snapshot that is newer than all that was waited for, and sees what this transaction has written.
pub fn as_of_now<T>(act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // SAFETY: in a transaction; an error, which ends the statement, takes the snapshot away.
    unsafe {
        pg_sys::CommandCounterIncrement();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let done = act()?;
        pg_sys::PopActiveSnapshot();
        Ok(done)
    }
}
