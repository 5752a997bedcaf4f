//! Calls of the functions for people: dead letters, deliveries, the overview. Rows come as JSON, as they are shown.

use serde_json::Value;
use tokio_postgres::types::{Json, Type};
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::{query, query_one, DatabaseError, Param};

/// A row, and where the next page begins.
type Page = Vec<(Value, Value)>;

fn object(row: &Row, column: usize) -> Result<Value, DatabaseError> {
    let Json(value) = row.try_get(column)?;
    Ok(value)
}

fn objects(rows: &[Row]) -> Result<Vec<Value>, DatabaseError> {
    rows.iter().map(|row| object(row, 0)).collect()
}

fn page(rows: &[Row]) -> Result<Page, DatabaseError> {
    rows.iter().map(|row| Ok((object(row, 0)?, object(row, 1)?))).collect()
}

/// Names who acts, for operator_log, and returns the server's time.
pub async fn name_operator(client: &Client, operator: &str) -> Result<String, DatabaseError> {
    let sql =
        "SELECT clock_timestamp()::text FROM pg_catalog.set_config('pgalert.operator', $1, false)";
    Ok(query_one(client, sql, &[(&operator, Type::TEXT)]).await?.try_get(0)?)
}

pub async fn list_dead_letters(
    client: &Client,
    filter: &Value,
    sort: &str,
    after: Option<&Value>,
    max_rows: i32,
) -> Result<Page, DatabaseError> {
    let sql = "SELECT to_jsonb(l) - 'cursor', l.cursor FROM pgalert.list_dead_letters($1, $2, $3, $4) AS l";
    let params: [Param; 4] = [
        (&filter, Type::JSONB),
        (&sort, Type::TEXT),
        (&after, Type::JSONB),
        (&max_rows, Type::INT4),
    ];
    page(&query(client, sql, &params).await?)
}

/// Whole rows, the oldest first, as import_dead_letters() takes them.
pub async fn export_letters(
    client: &Client,
    filter: &Value,
    after: Option<&Value>,
    max_rows: i32,
) -> Result<Page, DatabaseError> {
    let sql =
        "SELECT to_jsonb(d), l.cursor FROM pgalert.list_dead_letters($1, 'oldest', $2, $3) AS l \
               JOIN pgalert.alert_dlq d ON d.id = l.dlq_id AND d.created_at = l.created_at ORDER BY d.id";
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&after, Type::JSONB), (&max_rows, Type::INT4)];
    page(&query(client, sql, &params).await?)
}

/// Returns how many were not there yet.
pub async fn import_dead_letters(client: &Client, letters: &Value) -> Result<i32, DatabaseError> {
    let sql = "SELECT pgalert.import_dead_letters($1)";
    Ok(query_one(client, sql, &[(&letters, Type::JSONB)]).await?.try_get(0)?)
}

pub async fn count_matching(client: &Client, filter: &Value) -> Result<i64, DatabaseError> {
    let sql = "SELECT pgalert.count_matching($1, 9223372036854775807)";
    Ok(query_one(client, sql, &[(&filter, Type::JSONB)]).await?.try_get(0)?)
}

pub async fn dead_letter(client: &Client, dlq_id: Uuid) -> Result<Value, DatabaseError> {
    let sql = "SELECT to_jsonb(l) FROM pgalert.dead_letter($1) AS l";
    object(&query_one(client, sql, &[(&dlq_id, Type::UUID)]).await?, 0)
}

pub async fn delivery_attempts(client: &Client, key: Uuid) -> Result<Vec<Value>, DatabaseError> {
    let sql = "SELECT to_jsonb(a) FROM pgalert.delivery_attempts($1) AS a";
    objects(&query(client, sql, &[(&key, Type::UUID)]).await?)
}

pub async fn find_deliveries(
    client: &Client,
    filter: &Value,
    after: Option<&Value>,
    max_rows: i32,
) -> Result<Page, DatabaseError> {
    let sql =
        "SELECT to_jsonb(d) - 'cursor', d.cursor FROM pgalert.find_deliveries($1, $2, $3) AS d";
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&after, Type::JSONB), (&max_rows, Type::INT4)];
    page(&query(client, sql, &params).await?)
}

pub async fn error_groups(
    client: &Client,
    filter: &Value,
    max_rows: i32,
) -> Result<Vec<Value>, DatabaseError> {
    let sql = "SELECT to_jsonb(g) FROM pgalert.error_groups($1, $2) AS g";
    let params: [Param; 2] = [(&filter, Type::JSONB), (&max_rows, Type::INT4)];
    objects(&query(client, sql, &params).await?)
}

pub async fn overview(client: &Client) -> Result<Value, DatabaseError> {
    object(&query_one(client, "SELECT pgalert.overview()", &[]).await?, 0)
}

pub async fn open_claims(client: &Client) -> Result<Vec<Value>, DatabaseError> {
    objects(&query(client, "SELECT to_jsonb(c) FROM pgalert.open_claims() AS c", &[]).await?)
}

pub async fn retry_now(
    client: &Client,
    dlq_id: Uuid,
    reason: Option<&str>,
) -> Result<String, DatabaseError> {
    let params: [Param; 2] = [(&dlq_id, Type::UUID), (&reason, Type::TEXT)];
    Ok(query_one(client, "SELECT pgalert.retry_now($1, $2)", &params).await?.try_get(0)?)
}

pub async fn discard(client: &Client, dlq_id: Uuid, reason: &str) -> Result<String, DatabaseError> {
    let params: [Param; 2] = [(&dlq_id, Type::UUID), (&reason, Type::TEXT)];
    Ok(query_one(client, "SELECT pgalert.discard($1, $2)", &params).await?.try_get(0)?)
}

/// Returns how many were queued; 0 when none are left.
pub async fn retry_matching(
    client: &Client,
    filter: &Value,
    max_rows: i32,
    reason: Option<&str>,
) -> Result<i32, DatabaseError> {
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&max_rows, Type::INT4), (&reason, Type::TEXT)];
    let sql = "SELECT pgalert.retry_matching($1, $2, $3)";
    Ok(query_one(client, sql, &params).await?.try_get(0)?)
}

/// Returns how many are gone; 0 when none are left.
pub async fn discard_matching(
    client: &Client,
    filter: &Value,
    max_rows: i32,
    reason: &str,
) -> Result<i32, DatabaseError> {
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&max_rows, Type::INT4), (&reason, Type::TEXT)];
    let sql = "SELECT pgalert.discard_matching($1, $2, $3)";
    Ok(query_one(client, sql, &params).await?.try_get(0)?)
}

/// Returns the id of the gradual retry.
pub async fn retry_gradually(
    client: &Client,
    filter: &Value,
    max_failure_share: f64,
    reason: Option<&str>,
) -> Result<i64, DatabaseError> {
    let params: [Param; 3] =
        [(&filter, Type::JSONB), (&max_failure_share, Type::FLOAT8), (&reason, Type::TEXT)];
    let sql = "SELECT pgalert.retry_gradually($1, $2, $3)";
    Ok(query_one(client, sql, &params).await?.try_get(0)?)
}

pub async fn edit_dead_letter(
    client: &Client,
    dlq_id: Uuid,
    changes: &Value,
    reason: Option<&str>,
) -> Result<String, DatabaseError> {
    let params: [Param; 3] =
        [(&dlq_id, Type::UUID), (&changes, Type::JSONB), (&reason, Type::TEXT)];
    let sql = "SELECT pgalert.edit_dead_letter($1, $2, $3)";
    Ok(query_one(client, sql, &params).await?.try_get(0)?)
}
