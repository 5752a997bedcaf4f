//! Sequences, as nextval(), setval() and pg_sequence_last_value() have them.

use std::cell::Cell;

use pgrx::datum::IntoDatum;
use pgrx::{direct_function_call, direct_function_call_as_datum, pg_sys};

/// None for a sequence that was not called.
pub fn last_value(sequence: pg_sys::Oid) -> Option<i64> {
    // SAFETY: the function takes an OID, and raises an error for one that is not of a sequence.
    unsafe { direct_function_call(pg_sys::pg_sequence_last_value, &[sequence.into_datum()]) }
}

/// Calls it.
pub fn next_value(sequence: pg_sys::Oid) -> Option<i64> {
    // SAFETY: as above.
    unsafe { direct_function_call(pg_sys::nextval_oid, &[sequence.into_datum()]) }
}

pub fn set(sequence: pg_sys::Oid, value: i64) {
    let arguments = [sequence.into_datum(), value.into_datum()];
    // SAFETY: as above, and a number.
    unsafe { direct_function_call_as_datum(pg_sys::setval_oid, &arguments) };
}

thread_local! {
    /// The last sequence that was seen to be called.
    static CALLED: Cell<Option<pg_sys::Oid>> = const { Cell::new(None) };
}

/// Of a sequence that stays called once it was: then this session need not look again.
pub fn was_called(sequence: pg_sys::Oid) -> bool {
    if CALLED.get() != Some(sequence) && last_value(sequence).is_some() {
        CALLED.set(Some(sequence));
    }
    CALLED.get() == Some(sequence)
}
