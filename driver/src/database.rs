//! Every call of a SQL function, as one named function each. Statements are unnamed and need no state of the session, so
//! that a transaction pooler may stand between.

pub mod channels;
mod error;
pub mod letters;
pub mod recipients;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_postgres::types::{Json, ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::message::{Claim, Message, Outcome};
pub use error::DatabaseError;

/// A call that takes longer means a connection that is dead or a server that is stuck.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

pub type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Whatever sends a statement: a connection of the driver, a transaction of the desk; each has its own patience and errors.
pub trait Caller: Sync {
    type Error: From<tokio_postgres::Error>;

    fn call(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Vec<Row>, Self::Error>> + Send;

    /// For an answer without the row that it must have.
    fn no_row() -> Self::Error;
}

impl Caller for Client {
    type Error = DatabaseError;

    async fn call(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, DatabaseError> {
        match tokio::time::timeout(CALL_TIMEOUT, self.query_typed(sql, params)).await {
            Ok(rows) => Ok(rows?),
            Err(_) => {
                Err(DatabaseError::Lost(format!("no answer within {} s", CALL_TIMEOUT.as_secs())))
            }
        }
    }

    fn no_row() -> DatabaseError {
        DatabaseError::Lost("an answer had no row".into())
    }
}

/// A call whose statements the server itself ends after so long. Where it waits for a lock it does not notice that its client has
/// given up, and would keep the connection that long.
pub async fn bounded<T>(
    client: &Client,
    limit: Duration,
    call: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    let limit = limit.as_millis();
    client.batch_execute(&format!("BEGIN; SET LOCAL statement_timeout = {limit}")).await?;
    let answer = call.await;
    client.batch_execute("END").await?; // of a failed one too
    answer
}

async fn query_one<C: Caller>(
    caller: &C,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Row, C::Error> {
    caller.call(sql, params).await?.into_iter().next().ok_or_else(C::no_row)
}

fn seconds(duration: Duration) -> String {
    format!("{} seconds", duration.as_secs_f64())
}

/// The messages of one claim, in order; None when there is nothing to do. The environment is set for this statement alone, in an
/// argument of the call, so that it comes before it. Columns are not named: each poll would read their names.
pub async fn claim_batch(
    client: &Client,
    environment: &str,
    worker: &str,
    max_messages: i32,
    lease: Duration,
) -> Result<Option<Claim>, DatabaseError> {
    let sql = "SELECT * FROM pgalert.claim_batch(\
               CASE WHEN pg_catalog.set_config('pgalert.environment', $1, true) IS NOT NULL THEN $2 END, $3, $4::interval)";
    let lease = seconds(lease);
    let params: [Param; 4] = [
        (&environment, Type::TEXT),
        (&worker, Type::TEXT),
        (&max_messages, Type::INT4),
        (&lease, Type::TEXT),
    ];
    let rows = client.call(sql, &params).await?;
    let Some(claim_id) = rows.first().map(|row| row.get(0)) else { return Ok(None) };
    let messages = rows.iter().map(message).collect::<Result<_, _>>()?;
    Ok(Some(Claim { claim_id, messages }))
}

/// Columns in the order in which claim_batch() is declared; those without a number here are not needed.
fn message(row: &Row) -> Result<Message, tokio_postgres::Error> {
    let Json(recipients) = row.try_get(9)?;
    let Json(alert_data) = row.try_get(10)?;
    let text: Option<String> = row.try_get(6)?;
    let mut message = Message {
        message_id: row.try_get(1)?,
        delivery_key: row.try_get(2)?,
        alert_id: row.try_get(3)?,
        user_id: row.try_get(4)?,
        alert_name: row.try_get(5)?,
        text: text.unwrap_or_default(),
        priority: row.try_get(7)?,
        channels: row.try_get(8)?,
        recipients,
        alert_data,
        attempt: row.try_get(11)?,
        enqueued_at: row.try_get(13)?,
        traceparent: row.try_get(14)?,
    };
    if message.text.is_empty() {
        message.text = message.title(); // a letter that came by push_to_dlq() may have no message
    }
    Ok(message)
}

/// Returns how many messages the outcomes finish.
pub async fn report(
    client: &Client,
    claim_id: i64,
    worker: &str,
    outcomes: &[&Outcome],
) -> Result<i32, DatabaseError> {
    let outcomes = Json(outcomes);
    let params: [Param; 3] =
        [(&claim_id, Type::INT8), (&worker, Type::TEXT), (&outcomes, Type::JSONB)];
    Ok(query_one(client, "SELECT pgalert.report($1, $2, $3)", &params).await?.try_get(0)?)
}

pub async fn report_breakers(
    client: &Client,
    worker: &str,
    breakers: &Value,
) -> Result<(), DatabaseError> {
    let params: [Param; 2] = [(&worker, Type::TEXT), (&breakers, Type::JSONB)];
    query_one(client, "SELECT pgalert.report_breakers($1, $2)::text", &params).await?;
    Ok(())
}

pub async fn extend_lease(
    client: &Client,
    claim_id: i64,
    worker: &str,
    lease: Duration,
) -> Result<DateTime<Utc>, DatabaseError> {
    let lease = seconds(lease);
    let params: [Param; 3] = [(&claim_id, Type::INT8), (&worker, Type::TEXT), (&lease, Type::TEXT)];
    Ok(query_one(client, "SELECT pgalert.extend_lease($1, $2, $3::interval)", &params)
        .await?
        .try_get(0)?)
}

/// Returns how many messages were given back.
pub async fn release_claim(
    client: &Client,
    claim_id: i64,
    worker: &str,
) -> Result<i32, DatabaseError> {
    let params: [Param; 2] = [(&claim_id, Type::INT8), (&worker, Type::TEXT)];
    Ok(query_one(client, "SELECT pgalert.release_claim($1, $2)", &params).await?.try_get(0)?)
}

pub async fn hold_reason(
    client: &Client,
    environment: &str,
) -> Result<Option<String>, DatabaseError> {
    let sql = "SELECT CASE WHEN e.value IS NOT NULL THEN pgalert.hold_reason() END \
               FROM pg_catalog.set_config('pgalert.environment', $1, true) AS e (value)";
    Ok(query_one(client, sql, &[(&environment, Type::TEXT)]).await?.try_get(0)?)
}

/// Returns how many dead letters went back into the queue.
pub async fn schedule_retries(
    client: &Client,
    environment: &str,
    max_rows: i32,
) -> Result<i32, DatabaseError> {
    let sql = "SELECT CASE WHEN e.value IS NOT NULL THEN pgalert.schedule_retries($2) END \
               FROM pg_catalog.set_config('pgalert.environment', $1, true) AS e (value)";
    let params: [Param; 2] = [(&environment, Type::TEXT), (&max_rows, Type::INT4)];
    Ok(query_one(client, sql, &params).await?.try_get(0)?)
}

/// Returns what was done, as JSON text.
pub async fn maintain(client: &Client, environment: &str) -> Result<String, DatabaseError> {
    let sql = "SELECT CASE WHEN e.value IS NOT NULL THEN pgalert.maintain()::text END \
               FROM pg_catalog.set_config('pgalert.environment', $1, true) AS e (value)";
    Ok(query_one(client, sql, &[(&environment, Type::TEXT)]).await?.try_get(0)?)
}

pub async fn listen(client: &Client) -> Result<(), DatabaseError> {
    client.call("LISTEN pgalert_outbox", &[]).await?;
    Ok(())
}

pub async fn announce_sleep(client: &Client, nap: Duration) -> Result<(), DatabaseError> {
    let nap = seconds(nap);
    client.call("SELECT pgalert.announce_sleep($1::interval)", &[(&nap, Type::TEXT)]).await?;
    Ok(())
}

/// Dead letters whose time has not come.
pub async fn count_waiting(client: &Client) -> Result<i64, DatabaseError> {
    Ok(query_one(client, "SELECT pgalert.count_waiting()", &[]).await?.try_get(0)?)
}

/// Messages that are to be sent and that nobody else holds: not claimed yet, given back, or left in a claim of this worker.
pub async fn count_left(client: &Client, worker: &str) -> Result<i64, DatabaseError> {
    let sql = "SELECT ((SELECT coalesce(sum(waiting), 0) FROM pgalert.queue_depth()) + (SELECT coalesce(sum(messages_left), 0) \
               FROM pgalert.open_claims() WHERE lease_until = '-infinity' OR worker = $1))::bigint";
    Ok(query_one(client, sql, &[(&worker, Type::TEXT)]).await?.try_get(0)?)
}

pub async fn deliver_alert(
    client: &Client,
    alert: &str,
    user_id: &str,
    message: &str,
    window: Option<&str>,
    traceparent: Option<&str>,
) -> Result<String, DatabaseError> {
    let params: [Param; 5] = [
        (&alert, Type::TEXT),
        (&user_id, Type::TEXT),
        (&message, Type::TEXT),
        (&window, Type::TEXT),
        (&traceparent, Type::TEXT),
    ];
    let sql = "SELECT pgalert.deliver_alert($1::jsonb, $2, $3, $4::interval, $5)";
    Ok(query_one(client, sql, &params).await?.try_get(0)?)
}

/// Server version, and the extension's where it is installed.
pub async fn versions(client: &Client) -> Result<(String, Option<String>), DatabaseError> {
    let sql = "SELECT current_setting('server_version'), (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'pgalert')";
    let row = query_one(client, sql, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// One series of `metrics()`.
#[derive(Debug)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

pub async fn metrics(client: &Client, environment: &str) -> Result<Vec<Series>, DatabaseError> {
    let sql = "SELECT m.name, m.labels, m.value FROM pg_catalog.set_config('pgalert.environment', $1, true) AS e (value), \
               LATERAL (SELECT * FROM pgalert.metrics() WHERE e.value IS NOT NULL OFFSET 0) AS m";
    let series = |row: &Row| {
        let Json(labels) = row.try_get(1)?;
        Ok(Series { name: row.try_get(0)?, labels, value: row.try_get(2)? })
    };
    client.call(sql, &[(&environment, Type::TEXT)]).await?.iter().map(series).collect()
}

/// The role of the connection, and those of the given functions (regprocedure texts) that it may not call.
pub async fn missing_rights(
    client: &Client,
    functions: &[&str],
) -> Result<(String, Vec<String>), DatabaseError> {
    let sql = "SELECT current_user::text, coalesce(array_agg(f) FILTER (WHERE to_regprocedure(f) IS NULL \
               OR NOT has_function_privilege(to_regprocedure(f), 'EXECUTE')), '{}') FROM unnest($1) AS f";
    let row = query_one(client, sql, &[(&functions, Type::TEXT_ARRAY)]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
