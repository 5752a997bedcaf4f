//! The SQL functions that are Rust and that users call. Each is a thin wrapper; its rule is in the module that it calls.

use chrono::{DateTime, Utc};
use pgrx::datum::{Array, Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, JsonB};

use crate::backoff::{self, Delay};
use crate::error::Error;
use crate::jsonb::Jsonb;
use crate::text::Text;
use crate::{alert, channels, hash};

/// Postgres counts microseconds from 2000, chrono from 1970.
pub const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

#[pg_extern(immutable, strict, parallel_safe)]
fn compute_content_hash(alert_data: Jsonb) -> Result<String, ErrorReport> {
    Ok(hash::content_hash(alert_data.value()?)?)
}

#[pg_extern(name = "compute_content_hash", immutable, parallel_safe)]
fn compute_alert_hash(
    condition: Option<Jsonb>,
    message: Option<Text>,
    user_id: Option<Text>,
) -> Result<String, ErrorReport> {
    let condition = condition.map(Jsonb::value).transpose()?;
    Ok(hash::alert_hash(condition, message.as_deref(), user_id.as_deref())?)
}

#[pg_extern(immutable, strict, parallel_safe)]
fn normalize_channels(alert: Jsonb) -> Result<JsonB, ErrorReport> {
    let channels = channels::of_alert(alert::object(alert.value()?)?)?;
    Ok(JsonB(channels.into_iter().collect()))
}

#[pg_extern(name = "normalize_channels", immutable, parallel_safe)]
fn normalize_channel_columns(
    channels: Option<Jsonb>,
    notify_inapp: Option<bool>,
    notify_email: Option<bool>,
) -> Result<JsonB, ErrorReport> {
    let channels = channels.map(Jsonb::value).transpose()?;
    let channels = channels::of_parts(channels, notify_inapp, notify_email)?;
    Ok(JsonB(channels.into_iter().collect()))
}

#[pg_extern(immutable, strict, parallel_safe)]
fn retry_delay(
    retry_count: i32,
    schedule: Array<Interval>,
) -> Result<Option<Interval>, ErrorReport> {
    let delay = backoff::retry_delay(retry_count, &delays(&schedule))?;
    // No part of a delay is negative, so their signs always agree.
    Ok(delay.and_then(|delay| Interval::new(delay.months, delay.days, delay.micros).ok()))
}

#[pg_extern(immutable, strict, parallel_safe)]
fn next_retry_at(
    retry_count: i32,
    last_attempt: TimestampWithTimeZone,
    schedule: Array<Interval>,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    let last_attempt = to_chrono(last_attempt)?;
    let next = backoff::next_retry_at(retry_count, last_attempt, &delays(&schedule))?;
    Ok(next.map(from_chrono).transpose()?)
}

fn delays(schedule: &Array<Interval>) -> Vec<Option<Delay>> {
    let delay = |i: Interval| Delay { months: i.months(), days: i.days(), micros: i.micros() };
    schedule.iter().map(|interval| interval.map(delay)).collect()
}

fn to_chrono(time: TimestampWithTimeZone) -> Result<DateTime<Utc>, Error> {
    if !time.is_finite() {
        return Err(Error::InfiniteAttempt);
    }
    time.into_inner()
        .checked_add(POSTGRES_EPOCH_MICROS)
        .and_then(DateTime::from_timestamp_micros)
        .ok_or(Error::RetryOutOfRange)
}

fn from_chrono(time: DateTime<Utc>) -> Result<TimestampWithTimeZone, Error> {
    TimestampWithTimeZone::try_from(time.timestamp_micros() - POSTGRES_EPOCH_MICROS)
        .map_err(|_| Error::RetryOutOfRange)
}
