//! SQL functions that only `sql/` calls. Like `api`, thin wrappers.

use pgrx::datum::{Array, Uuid};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{name, pg_extern, VariadicArray};

use crate::admission::{self, Applicant};
use crate::alert;
use crate::error::Error;
use crate::jsonb::JsonbText;
use crate::keys;
use crate::snapshot::{self, Range, Snapshot};

#[pg_extern(immutable, strict, parallel_safe)]
fn _dedup_key(parts: VariadicArray<&str>) -> Uuid {
    Uuid::from_bytes(keys::dedup_key(parts.iter()))
}

#[pg_extern(volatile, parallel_safe)]
fn _message_key() -> Uuid {
    Uuid::from_bytes(keys::message_key())
}

#[pg_extern(immutable, strict, parallel_safe)]
fn _enabled_channels(alert: JsonbText) -> Result<Vec<String>, ErrorReport> {
    Ok(alert::enabled(alert.0)?)
}

/// `{alert_id, alert_name, priority, channels, content_hash, dedup_key, expires_at}`, the channels separated by commas. An array,
/// since a row would have to be built by name or to come from a set.
#[pg_extern(immutable, parallel_safe)]
fn _read_alert(
    alert: Option<JsonbText>,
    user_id: Option<&str>,
    message: Option<&str>,
    traceparent: Option<&str>,
) -> Result<Vec<Option<String>>, ErrorReport> {
    let firing = alert::read_firing(alert.map(|json| json.0), user_id, message, traceparent)?;
    Ok(vec![
        Some(firing.alert_id),
        firing.alert_name,
        Some(firing.priority),
        Some(firing.channels.join(",")),
        Some(firing.content_hash),
        firing.dedup_key,
        firing.expires_at,
    ])
}

/// Keys of a user's day for one alert, one for each of the messages that the daily limit allows; NULL without a limit.
#[pg_extern(immutable, strict, parallel_safe)]
fn _day_keys(user_id: &str, alert_id: &str, day: &str, daily_limit: i32) -> Vec<Uuid> {
    let key = |place: i32| {
        let place = place.to_string();
        let parts = ["day", user_id, alert_id, day, &place];
        Uuid::from_bytes(keys::dedup_key(parts.into_iter().map(Some)))
    };
    (1..=daily_limit).map(key).collect()
}

/// The arrays are of equal length, one element for a firing.
#[pg_extern(immutable, strict, parallel_safe)]
fn _admit(
    contents: Array<Uuid>,
    contents_taken: Array<bool>,
    days: Array<Uuid>,
    daily_limits: Array<i32>,
    places_taken: Array<i64>,
) -> Vec<i32> {
    let bytes = |uuid: Option<Uuid>| uuid.map(|uuid| *uuid.as_bytes());
    let applicants: Vec<Applicant> = contents
        .iter()
        .zip(contents_taken.iter())
        .zip(days.iter())
        .zip(daily_limits.iter())
        .zip(places_taken.iter())
        .map(|((((content, taken), day), limit), places)| Applicant {
            content: bytes(content),
            content_taken: taken.unwrap_or(false),
            day: bytes(day),
            daily_limit: limit.unwrap_or(0).unsigned_abs(),
            places_taken: places.unwrap_or(0) as u64,
        })
        .collect();
    admission::admit(&applicants)
}

#[pg_extern(immutable, strict, parallel_safe)]
fn _snapshot_with(snapshot: &str, xid: &str) -> Result<String, ErrorReport> {
    Ok(Snapshot::parse(snapshot)?.with_in_progress(read_xid(xid)?).to_text())
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

/// A text as JSON. `to_json` looks its argument's type up at each call, which costs more than all else of an address.
#[pg_extern(immutable, strict, parallel_safe)]
fn _json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn read_xid(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::Snapshot { found: text.to_owned() })
}
