//! Waking who sleeps, as `sql/33_wake.sql` has it.

use pgrx::datum::IntoDatum;
use pgrx::{direct_function_call_as_datum, pg_extern, pg_sys};

use crate::installed;
use crate::internal::now_micros;
use crate::keys;
use crate::sequence;
use crate::text::Text;

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
        notify("pgalert_outbox");
    }
    if until.is_none() {
        sequence::set(asleep_until, at / 1000 + UNKNOWN_MS);
    }
}

/// Declared in `sql/33_wake.sql`.
#[pg_extern(sql = false)]
fn _wake_inbox(user_id: &str) {
    inboxes(installed::here().inboxes_listening_until, [user_id].into_iter(), now_micros());
}

/// Notifies whoever shows the inbox of one of these users, if one may listen at that time.
pub fn inboxes<'a>(listening_until: pg_sys::Oid, users: impl Iterator<Item = &'a str>, at: i64) {
    if sequence::last_value(listening_until).is_some_and(|until| until > at / 1000) {
        users.for_each(|user_id| notify(&channel_of(user_id)));
    }
}

/// Declared in `sql/33_wake.sql`.
#[pg_extern(sql = false)]
fn inbox_channel(user_id: Text) -> String {
    channel_of(&user_id)
}

fn channel_of(user_id: &str) -> String {
    let key = u128::from_be_bytes(keys::dedup_key([Some("inbox"), Some(user_id)].into_iter()));
    format!("pgalert_inbox_{key:032x}")
}

fn notify(channel: &str) {
    // SAFETY: the function takes two texts.
    unsafe {
        direct_function_call_as_datum(pg_sys::pg_notify, &[channel.into_datum(), "".into_datum()])
    };
}
