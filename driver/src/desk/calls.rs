//! Every call of a SQL function that the desk makes. What is read comes as JSON, which templates show as it is.

use serde_json::Value;
use tokio_postgres::types::{Json, Type};
use tokio_postgres::Transaction;
use uuid::Uuid;

use super::fault::Fault;
use super::store::{query, Param};

type Tx<'a> = Transaction<'a>;
type Rows = Result<Vec<Value>, Fault>;

async fn rows(tx: &Tx<'_>, from: &str, params: &[Param<'_>]) -> Rows {
    let sql = format!("SELECT pg_catalog.to_jsonb(t) FROM {from} AS t");
    let rows = query(tx, &sql, params).await?;
    rows.iter().map(|row| Ok(row.try_get::<_, Json<Value>>(0)?.0)).collect()
}

async fn value<T>(tx: &Tx<'_>, call: &str, params: &[Param<'_>]) -> Result<T, Fault>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    let rows = query(tx, &format!("SELECT {call}"), params).await?;
    let row = rows.first().ok_or(Fault::Unavailable)?;
    Ok(row.try_get(0)?)
}

// Reading ------------------------------------------------------------------------------------------------------------

pub async fn overview(tx: &Tx<'_>, period: &str) -> Result<Value, Fault> {
    let call = "pgalert.overview($1::interval)";
    Ok(value::<Json<Value>>(tx, call, &[(&period, Type::TEXT)]).await?.0)
}

pub async fn list_dead_letters(
    tx: &Tx<'_>,
    filter: &Value,
    sort: &str,
    after: Option<&Value>,
    max_rows: i32,
) -> Rows {
    let (filter, after) = (Json(filter), after.map(Json));
    let params: [Param; 4] = [
        (&filter, Type::JSONB),
        (&sort, Type::TEXT),
        (&after, Type::JSONB),
        (&max_rows, Type::INT4),
    ];
    rows(tx, "pgalert.list_dead_letters($1, $2, $3, $4)", &params).await
}

/// Letters of each state, as they are counted where they change.
pub async fn dlq_states(tx: &Tx<'_>) -> Rows {
    rows(tx, "pgalert.dlq_states", &[]).await
}

pub async fn count_matching(tx: &Tx<'_>, filter: &Value, up_to: i64) -> Result<i64, Fault> {
    let filter = Json(filter);
    let params: [Param; 2] = [(&filter, Type::JSONB), (&up_to, Type::INT8)];
    value(tx, "pgalert.count_matching($1, $2)", &params).await
}

pub async fn dead_letter(tx: &Tx<'_>, id: Uuid) -> Result<Value, Fault> {
    let found = rows(tx, "pgalert.dead_letter($1)", &[(&id, Type::UUID)]).await?;
    found.into_iter().next().ok_or(Fault::NoPage)
}

pub async fn delivery_attempts(tx: &Tx<'_>, delivery_key: Uuid) -> Rows {
    rows(tx, "pgalert.delivery_attempts($1)", &[(&delivery_key, Type::UUID)]).await
}

pub async fn error_groups(tx: &Tx<'_>, filter: &Value, max_rows: i32) -> Rows {
    let filter = Json(filter);
    let params: [Param; 2] = [(&filter, Type::JSONB), (&max_rows, Type::INT4)];
    rows(tx, "pgalert.error_groups($1, $2)", &params).await
}

pub async fn find_deliveries(
    tx: &Tx<'_>,
    filter: &Value,
    after: Option<&Value>,
    max_rows: i32,
) -> Rows {
    let (filter, after) = (Json(filter), after.map(Json));
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&after, Type::JSONB), (&max_rows, Type::INT4)];
    rows(tx, "pgalert.find_deliveries($1, $2, $3)", &params).await
}

pub async fn recipient_health(
    tx: &Tx<'_>,
    user_id: Option<&str>,
    after_id: Option<i64>,
    max_rows: i32,
) -> Rows {
    let params: [Param; 3] =
        [(&user_id, Type::TEXT), (&after_id, Type::INT8), (&max_rows, Type::INT4)];
    rows(tx, "pgalert.recipient_health($1, $2, $3)", &params).await
}

pub async fn list_gradual_retries(tx: &Tx<'_>, max_rows: i32) -> Rows {
    rows(tx, "pgalert.list_gradual_retries($1)", &[(&max_rows, Type::INT4)]).await
}

pub async fn list_channels(tx: &Tx<'_>) -> Rows {
    rows(tx, "pgalert.list_channels()", &[]).await
}

// Acting -------------------------------------------------------------------------------------------------------------

/// `queued` or `already_queued`.
pub async fn retry_now(tx: &Tx<'_>, id: Uuid, reason: Option<&str>) -> Result<String, Fault> {
    let params: [Param; 2] = [(&id, Type::UUID), (&reason, Type::TEXT)];
    value(tx, "pgalert.retry_now($1, $2)", &params).await
}

/// `discarded` or `already_gone`.
pub async fn discard(tx: &Tx<'_>, id: Uuid, reason: Option<&str>) -> Result<String, Fault> {
    let params: [Param; 2] = [(&id, Type::UUID), (&reason, Type::TEXT)];
    value(tx, "pgalert.discard($1, $2)", &params).await
}

pub async fn edit_dead_letter(
    tx: &Tx<'_>,
    id: Uuid,
    changes: &Value,
    reason: Option<&str>,
) -> Result<String, Fault> {
    let changes = Json(changes);
    let params: [Param; 3] = [(&id, Type::UUID), (&changes, Type::JSONB), (&reason, Type::TEXT)];
    value(tx, "pgalert.edit_dead_letter($1, $2, $3)", &params).await
}

/// Returns how many of at most `max_rows`.
pub async fn retry_matching(
    tx: &Tx<'_>,
    filter: &Value,
    max_rows: i32,
    reason: Option<&str>,
) -> Result<i32, Fault> {
    let filter = Json(filter);
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&max_rows, Type::INT4), (&reason, Type::TEXT)];
    value(tx, "pgalert.retry_matching($1, $2, $3)", &params).await
}

/// Returns how many of at most `max_rows`.
pub async fn discard_matching(
    tx: &Tx<'_>,
    filter: &Value,
    max_rows: i32,
    reason: Option<&str>,
) -> Result<i32, Fault> {
    let filter = Json(filter);
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&max_rows, Type::INT4), (&reason, Type::TEXT)];
    value(tx, "pgalert.discard_matching($1, $2, $3)", &params).await
}

pub async fn retry_gradually(
    tx: &Tx<'_>,
    filter: &Value,
    max_failure_share: f64,
    reason: Option<&str>,
) -> Result<i64, Fault> {
    let filter = Json(filter);
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&max_failure_share, Type::FLOAT8), (&reason, Type::TEXT)];
    value(tx, "pgalert.retry_gradually($1, $2, $3)", &params).await
}

pub async fn stop_gradual_retry(tx: &Tx<'_>, id: i64, reason: Option<&str>) -> Result<(), Fault> {
    let params: [Param; 2] = [(&id, Type::INT8), (&reason, Type::TEXT)];
    query(tx, "SELECT pgalert.stop_gradual_retry($1, $2)", &params).await.map(drop)
}

/// False when it was not disabled.
pub async fn enable_recipient(tx: &Tx<'_>, id: i64) -> Result<bool, Fault> {
    value(tx, "pgalert.enable_recipient($1)", &[(&id, Type::INT8)]).await
}
