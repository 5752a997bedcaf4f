//! SQL functions that only `sql/` calls, but for those of firing, of reports and the aggregates. Like `api`, thin wrappers.

use std::ffi::CStr;

use pgrx::datum::{Interval, Uuid};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{name, pg_extern, pg_sys, VariadicArray};

use crate::alert;
use crate::api::POSTGRES_EPOCH_MICROS;
use crate::channels;
use crate::error::Error;
use crate::jsonb::Jsonb;
use crate::keys;
use crate::policy;
use crate::sequence;
use crate::snapshot::{self, Range, Snapshot};
use crate::text::Text;

#[pg_extern(immutable, strict, parallel_safe)]
fn _dedup_key(parts: VariadicArray<&str>) -> Uuid {
    Uuid::from_bytes(keys::dedup_key(parts.iter()))
}

#[pg_extern(volatile, parallel_safe)]
fn _message_key() -> Uuid {
    Uuid::from_bytes(keys::message_key())
}

#[pg_extern(immutable, parallel_safe)]
fn _builtin_channels() -> Vec<&'static str> {
    channels::BUILTIN.to_vec()
}

#[pg_extern(immutable, strict, parallel_safe)]
fn _enabled_channels(alert: Jsonb) -> Result<Vec<String>, ErrorReport> {
    Ok(alert::enabled(alert.value()?)?)
}

/// Declared in `sql/11_counters.sql`.
#[pg_extern(sql = false)]
pub fn _count_by(
    hundreds: pg_sys::Oid,
    tens: pg_sys::Oid,
    ones: pg_sys::Oid,
    deliveries: i64,
) -> i64 {
    for (counter, times) in
        [(hundreds, deliveries / 100), (tens, deliveries % 100 / 10), (ones, deliveries % 10)]
    {
        for _ in 0..times {
            sequence::next_value(counter);
        }
    }
    deliveries
}

/// Declared in `sql/49_added_up.sql`.
#[pg_extern(sql = false)]
pub fn _restoring() -> bool {
    // SAFETY: a setting, and the text of the statement that the session runs, if any.
    let statement = unsafe {
        if pg_sys::check_function_bodies || pg_sys::debug_query_string.is_null() {
            return false;
        }
        CStr::from_ptr(pg_sys::debug_query_string).to_bytes().trim_ascii_start()
    };
    [&b"COPY pgalert."[..], b"INSERT INTO pgalert."]
        .iter()
        .any(|begin| statement.starts_with(begin))
}

/// Rows for the view `all_policies`, which has those of table `policies` before them.
#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::type_complexity)]
fn _builtin_policies() -> TableIterator<
    'static,
    (
        name!(name, &'static str),
        name!(lane, &'static str),
        name!(retry_schedule, Vec<Interval>),
        name!(jitter, f64),
        name!(dedup_window, Interval),
        name!(daily_limit, i32),
    ),
> {
    let row = |policy: &policy::Policy| {
        let schedule = policy.retry_minutes.map(Interval::from_minutes).to_vec();
        let window = Interval::from_hours(policy::DEDUP_HOURS);
        (policy.name, policy.name, schedule, 0.0, window, policy::DAILY_LIMIT)
    };
    TableIterator::new(policy::BUILTIN.iter().map(row))
}

#[pg_extern(stable, parallel_safe)]
fn _database_oid() -> pg_sys::Oid {
    // SAFETY: set when a session begins.
    unsafe { pg_sys::MyDatabaseId }
}

#[pg_extern(volatile, parallel_safe)]
fn _now_ms() -> i64 {
    now_micros() / 1000
}

/// Microseconds since 1970.
pub fn now_micros() -> i64 {
    // SAFETY: reads a clock.
    let micros = unsafe { pg_sys::GetCurrentTimestamp() };
    micros + POSTGRES_EPOCH_MICROS
}

#[pg_extern(immutable, parallel_safe)]
fn _content_key(
    content_hash: Option<Text>,
    user_id: Option<Text>,
    dedup_key: Option<Text>,
) -> Uuid {
    Uuid::from_bytes(keys::content_key(
        content_hash.as_deref(),
        user_id.as_deref(),
        dedup_key.as_deref(),
    ))
}

/// Keys of a user's day for one alert, one for each of the messages that the daily limit allows; NULL without a limit.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn _day_keys(user_id: &str, alert_id: &str, day: &str, daily_limit: i32) -> Vec<Uuid> {
    (1..=daily_limit)
        .map(|place| Uuid::from_bytes(keys::day_key(user_id, alert_id, day, place)))
        .collect()
}

#[pg_extern(immutable, strict, parallel_safe)]
fn _window_ranges(
    lo: &str,
    hi: &str,
    after_xid: &str,
    after_id: i64,
) -> Result<
    TableIterator<
        'static,
        (name!(from_xid, String), name!(from_id, i64), name!(below_xid, String)),
    >,
    ErrorReport,
> {
    let after = (read_xid(after_xid)?, after_id);
    let ranges = snapshot::window_ranges(&Snapshot::parse(lo)?, &Snapshot::parse(hi)?, after);
    let row = |range: Range| (range.after.0.to_string(), range.after.1, range.below.to_string());
    Ok(TableIterator::new(ranges.into_iter().map(row)))
}

fn read_xid(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::Snapshot { found: text.to_owned() })
}
