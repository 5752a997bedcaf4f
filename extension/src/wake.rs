//! Waking drivers that sleep, as `sql/33_wake.sql` has it.

use pgrx::datum::IntoDatum;
use pgrx::{direct_function_call_as_datum, pg_extern, pg_sys};

use crate::installed;
use crate::internal::now_micros;
use crate::sequence;

/// How long all are notified where it is not known who sleeps, in milliseconds.
const UNKNOWN_MS: i64 = 10_000;

/// Declared in `sql/33_wake.sql`.
#[pg_extern(sql = false)]
fn _wake_drivers() {
    drivers(installed::here().drivers_asleep_until, now_micros());
}

/// Notifies drivers if one may be asleep at that time, in microseconds since 1970.
pub fn drivers(asleep_until: pg_sys::Oid, at: i64) {
    let until = sequence::last_value(asleep_until);
    if until.is_none_or(|until| until > at / 1000) {
        // SAFETY: the function takes two texts.
        unsafe {
            let arguments = ["pgalert_outbox".into_datum(), "".into_datum()];
            direct_function_call_as_datum(pg_sys::pg_notify, &arguments);
        }
    }
    if until.is_none() {
        sequence::set(asleep_until, at / 1000 + UNKNOWN_MS);
    }
}
