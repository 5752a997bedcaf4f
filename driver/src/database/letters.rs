//! Calls of the functions for people: dead letters, deliveries, the overview. Rows come as JSON, as they are shown.

use std::error::Error;

use serde_json::value::RawValue;
use serde_json::Value;
use tokio_postgres::types::{accepts, FromSql, Json, Type};
use uuid::Uuid;

use super::{query_one, Caller, Param};
use crate::numbers;

type Rows<C> = Result<Vec<Value>, <C as Caller>::Error>;

async fn rows<C: Caller>(caller: &C, from: &str, params: &[Param<'_>]) -> Rows<C> {
    let sql = format!("SELECT pg_catalog.to_jsonb(t) FROM {from} AS t");
    let rows = caller.call(&sql, params).await?;
    rows.iter().map(|row| Ok(row.try_get::<_, AsJson>(0)?.0)).collect()
}

/// What a letter holds may have numbers that no float holds.
struct AsJson(Value);

impl<'a> FromSql<'a> for AsJson {
    fn from_sql(column: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let Json(text) = Json::<&RawValue>::from_sql(column, raw)?;
        Ok(Self(numbers::parse(text.get())?))
    }

    accepts!(JSONB);
}

async fn value<C, T>(caller: &C, call: &str, params: &[Param<'_>]) -> Result<T, C::Error>
where
    C: Caller,
    T: for<'a> FromSql<'a>,
{
    Ok(query_one(caller, &format!("SELECT {call}"), params).await?.try_get(0)?)
}

/// A part of a list, of which each row has a `cursor`.
pub struct Page {
    /// Without their cursors.
    pub rows: Vec<Value>,
    /// Where the next page begins; None at the end.
    pub next: Option<Value>,
    /// The time of the last delivery looked at, where a search has stopped before it had found enough.
    pub looked_to: Option<Value>,
}

impl Page {
    fn of(mut rows: Vec<Value>, max_rows: i32) -> Self {
        let full = rows.len() == max_rows as usize;
        let cursors = rows.iter_mut().map(|row| row.as_object_mut()?.remove("cursor"));
        let last = cursors.last().flatten();
        let stopped = rows.pop_if(|last| last.get("id").is_some_and(Value::is_null));
        let next = last.filter(|_| full || stopped.is_some());
        Self { rows, next, looked_to: stopped.map(|mut row| row["delivered_at"].take()) }
    }
}

/// Names who acts, for operator_log, until the connection ends.
pub async fn name_operator<C: Caller>(caller: &C, operator: &str) -> Result<(), C::Error> {
    let call = "pg_catalog.set_config('pgalert.operator', $1, false)";
    value::<_, String>(caller, call, &[(&operator, Type::TEXT)]).await.map(drop)
}

/// The server's clock, by which letters know when they were tried.
pub async fn server_time<C: Caller>(caller: &C) -> Result<String, C::Error> {
    value(caller, "pg_catalog.clock_timestamp()::text", &[]).await
}

// Reading ------------------------------------------------------------------------------------------------------------

pub async fn overview<C: Caller>(caller: &C, period: &str) -> Result<Value, C::Error> {
    let call = "pgalert.overview($1::interval)";
    Ok(value::<_, Json<Value>>(caller, call, &[(&period, Type::TEXT)]).await?.0)
}

pub async fn open_claims<C: Caller>(caller: &C) -> Rows<C> {
    rows(caller, "pgalert.open_claims()", &[]).await
}

/// None on a standby, which does not have what is not logged.
pub async fn open_breakers<C: Caller>(caller: &C) -> Result<Option<Vec<Value>>, C::Error> {
    if value(caller, "pg_catalog.pg_is_in_recovery()", &[]).await? {
        return Ok(None);
    }
    rows(caller, "pgalert.open_breakers()", &[]).await.map(Some)
}

pub async fn list_dead_letters<C: Caller>(
    caller: &C,
    filter: &Value,
    sort: &str,
    after: Option<&Value>,
    max_rows: i32,
) -> Result<Page, C::Error> {
    let params: [Param; 4] = [
        (&filter, Type::JSONB),
        (&sort, Type::TEXT),
        (&after, Type::JSONB),
        (&max_rows, Type::INT4),
    ];
    Ok(Page::of(
        rows(caller, "pgalert.list_dead_letters($1, $2, $3, $4)", &params).await?,
        max_rows,
    ))
}

/// Whole rows, the oldest first, as import_dead_letters() takes them; and where the next page begins. Nothing of them is read, so
/// that each number stays as it is.
pub async fn export_letters<C: Caller>(
    caller: &C,
    filter: &Value,
    after: Option<&Value>,
    max_rows: i32,
) -> Result<(Vec<Box<RawValue>>, Option<Value>), C::Error> {
    let sql = "SELECT pg_catalog.to_jsonb(d), l.cursor FROM pgalert.list_dead_letters($1, 'oldest', $2, $3) AS l \
               JOIN pgalert.alert_dlq d ON d.id = l.dlq_id AND d.created_at = l.created_at ORDER BY d.id";
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&after, Type::JSONB), (&max_rows, Type::INT4)];
    let rows = caller.call(sql, &params).await?;
    let letters = rows.iter().map(|row| Ok(row.try_get::<_, Json<_>>(0)?.0));
    let full = rows.last().filter(|_| rows.len() == max_rows as usize);
    let next = full.map(|row| row.try_get(1)).transpose()?;
    Ok((letters.collect::<Result<_, C::Error>>()?, next))
}

/// Letters of each state.
pub async fn dlq_states<C: Caller>(caller: &C) -> Rows<C> {
    rows(caller, "pgalert.dlq_states", &[]).await
}

pub async fn count_matching<C: Caller>(
    caller: &C,
    filter: &Value,
    up_to: i64,
) -> Result<i64, C::Error> {
    let params: [Param; 2] = [(&filter, Type::JSONB), (&up_to, Type::INT8)];
    value(caller, "pgalert.count_matching($1, $2)", &params).await
}

pub async fn dead_letter<C: Caller>(caller: &C, dlq_id: Uuid) -> Result<Value, C::Error> {
    let found = rows(caller, "pgalert.dead_letter($1)", &[(&dlq_id, Type::UUID)]).await?;
    found.into_iter().next().ok_or_else(C::no_row)
}

pub async fn delivery_attempts<C: Caller>(caller: &C, key: Uuid) -> Rows<C> {
    rows(caller, "pgalert.delivery_attempts($1)", &[(&key, Type::UUID)]).await
}

pub async fn find_deliveries<C: Caller>(
    caller: &C,
    filter: &Value,
    after: Option<&Value>,
    max_rows: i32,
) -> Result<Page, C::Error> {
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&after, Type::JSONB), (&max_rows, Type::INT4)];
    let rows = rows(caller, "pgalert.find_deliveries($1, $2, $3)", &params).await?;
    Ok(Page::of(rows, max_rows))
}

pub async fn error_groups<C: Caller>(caller: &C, filter: &Value, max_rows: i32) -> Rows<C> {
    let params: [Param; 2] = [(&filter, Type::JSONB), (&max_rows, Type::INT4)];
    rows(caller, "pgalert.error_groups($1, $2)", &params).await
}

pub async fn recipient_health<C: Caller>(
    caller: &C,
    user_id: Option<&str>,
    after_id: Option<i64>,
    max_rows: i32,
) -> Rows<C> {
    let params: [Param; 3] =
        [(&user_id, Type::TEXT), (&after_id, Type::INT8), (&max_rows, Type::INT4)];
    rows(caller, "pgalert.recipient_health($1, $2, $3)", &params).await
}

pub async fn list_actions<C: Caller>(
    caller: &C,
    filter: &Value,
    after: Option<&Value>,
    max_rows: i32,
) -> Result<Page, C::Error> {
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&after, Type::JSONB), (&max_rows, Type::INT4)];
    Ok(Page::of(rows(caller, "pgalert.list_actions($1, $2, $3)", &params).await?, max_rows))
}

pub async fn list_gradual_retries<C: Caller>(caller: &C, max_rows: i32) -> Rows<C> {
    rows(caller, "pgalert.list_gradual_retries($1)", &[(&max_rows, Type::INT4)]).await
}

// Acting -------------------------------------------------------------------------------------------------------------

/// `queued`, `already_queued`, or `delivered` to the inbox.
pub async fn retry_now<C: Caller>(
    caller: &C,
    dlq_id: Uuid,
    reason: Option<&str>,
) -> Result<String, C::Error> {
    let params: [Param; 2] = [(&dlq_id, Type::UUID), (&reason, Type::TEXT)];
    value(caller, "pgalert.retry_now($1, $2)", &params).await
}

/// `discarded` or `already_gone`.
pub async fn discard<C: Caller>(
    caller: &C,
    dlq_id: Uuid,
    reason: Option<&str>,
) -> Result<String, C::Error> {
    let params: [Param; 2] = [(&dlq_id, Type::UUID), (&reason, Type::TEXT)];
    value(caller, "pgalert.discard($1, $2)", &params).await
}

/// What is done with many letters, at most so many in one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deed {
    Retry,
    Discard,
}

/// Returns how many letters it was done with; 0 when none are left.
pub async fn do_matching<C: Caller>(
    caller: &C,
    deed: Deed,
    filter: &Value,
    max_rows: i32,
    reason: Option<&str>,
) -> Result<i32, C::Error> {
    let call = match deed {
        Deed::Retry => "pgalert.retry_matching($1, $2, $3)",
        Deed::Discard => "pgalert.discard_matching($1, $2, $3)",
    };
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&max_rows, Type::INT4), (&reason, Type::TEXT)];
    value(caller, call, &params).await
}

/// Returns the id of the gradual retry.
pub async fn retry_gradually<C: Caller>(
    caller: &C,
    filter: &Value,
    max_failure_share: f64,
    reason: Option<&str>,
) -> Result<i64, C::Error> {
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&max_failure_share, Type::FLOAT8), (&reason, Type::TEXT)];
    value(caller, "pgalert.retry_gradually($1, $2, $3)", &params).await
}

/// False when it was not running.
pub async fn stop_gradual_retry<C: Caller>(
    caller: &C,
    id: i64,
    reason: Option<&str>,
) -> Result<bool, C::Error> {
    let params: [Param; 2] = [(&id, Type::INT8), (&reason, Type::TEXT)];
    value(caller, "pgalert.stop_gradual_retry($1, $2)", &params).await
}

pub async fn edit_dead_letter<C: Caller>(
    caller: &C,
    dlq_id: Uuid,
    changes: &Value,
    reason: Option<&str>,
) -> Result<String, C::Error> {
    let params: [Param; 3] =
        [(&dlq_id, Type::UUID), (&changes, Type::JSONB), (&reason, Type::TEXT)];
    value(caller, "pgalert.edit_dead_letter($1, $2, $3)", &params).await
}

/// Returns how many were not there yet.
pub async fn import_dead_letters<C: Caller>(
    caller: &C,
    letters: &[&RawValue],
) -> Result<i32, C::Error> {
    let letters = Json(letters);
    value(caller, "pgalert.import_dead_letters($1)", &[(&letters, Type::JSONB)]).await
}
