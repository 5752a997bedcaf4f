//! Every call of a SQL function, as one named function each. Statements are unnamed and need no state of the session, so
//! that a transaction pooler may stand between.

pub mod letters;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use thiserror::Error;
use tokio_postgres::types::{Json, ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::message::{Claim, Message, Outcome};

/// A call that takes longer means a connection that is dead or a server that is stuck.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const LEASE_LOST: &str = "PA001";

#[derive(Debug, Error)]
pub enum DatabaseError {
    /// The claim is another worker's now, or ended: what is held of it is to be dropped.
    #[error("{0}")]
    LeaseLost(String),
    /// The server refused the call; the connection is fine.
    #[error("{message} (SQLSTATE {sqlstate}){hint}")]
    Refused { sqlstate: String, message: String, hint: String },
    #[error("the connection to the database was lost: {0}")]
    Lost(String),
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) if db.code().code() == LEASE_LOST => {
                Self::LeaseLost(format!("{}: {}", db.message(), db.detail().unwrap_or_default()))
            }
            // Class 57P: the server ends the session. 25006: a standby now, after a failover.
            Some(db) if db.code().code().starts_with("57P") || db.code().code() == "25006" => {
                Self::Lost(db.message().into())
            }
            Some(db) => Self::Refused {
                sqlstate: db.code().code().into(),
                message: db.message().into(),
                hint: db.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default(),
            },
            None => {
                let cause = std::error::Error::source(&error)
                    .map(|source| format!(": {source}"))
                    .unwrap_or_default();
                Self::Lost(format!("{error}{cause}"))
            }
        }
    }
}

impl DatabaseError {
    /// A deadlock, a full disk, a cancelled statement …: the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused { sqlstate, .. } => {
                ["40", "53", "55", "57", "58"].iter().any(|class| sqlstate.starts_with(class))
            }
            Self::Lost(_) => true,
            Self::LeaseLost(_) => false,
        }
    }
}

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

/// The messages of one claim, in order; None when there is nothing to do. The environment is set for this statement alone,
/// and the call depends on it, so that it comes after.
pub async fn claim_batch(
    client: &Client,
    environment: &str,
    worker: &str,
    max_messages: i32,
    lease: Duration,
) -> Result<Option<Claim>, DatabaseError> {
    let sql = "SELECT c.claim_id, c.delivery_key, c.alert_id, c.user_id, c.alert_name, c.message, c.priority, c.channels, \
               c.recipients, c.alert_data, c.attempt, c.enqueued_at, c.message_id, c.traceparent \
               FROM pg_catalog.set_config('pgalert.environment', $1, true) AS e (value), \
               LATERAL pgalert.claim_batch(CASE WHEN e.value IS NOT NULL THEN $2 END, $3, $4::interval) AS c";
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

fn message(row: &Row) -> Result<Message, tokio_postgres::Error> {
    let Json(recipients) = row.try_get(8)?;
    let Json(alert_data) = row.try_get(9)?;
    Ok(Message {
        delivery_key: row.try_get(1)?,
        alert_id: row.try_get(2)?,
        user_id: row.try_get(3)?,
        alert_name: row.try_get(4)?,
        text: row.try_get(5)?,
        priority: row.try_get(6)?,
        channels: row.try_get(7)?,
        recipients,
        alert_data,
        attempt: row.try_get(10)?,
        enqueued_at: row.try_get(11)?,
        message_id: row.try_get(12)?,
        traceparent: row.try_get(13)?,
    })
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

pub async fn add_recipient(
    client: &Client,
    user_id: &str,
    channel: &str,
    address: &str,
    secret: Option<&str>,
) -> Result<i64, DatabaseError> {
    let params: [Param; 4] = [
        (&user_id, Type::TEXT),
        (&channel, Type::TEXT),
        (&address, Type::TEXT),
        (&secret, Type::TEXT),
    ];
    let sql = "SELECT pgalert.add_recipient($1, $2, $3, $4)";
    Ok(query_one(client, sql, &params).await?.try_get(0)?)
}

pub async fn rotate_secret(
    client: &Client,
    recipient_id: i64,
    secret: &str,
) -> Result<(), DatabaseError> {
    let params: [Param; 2] = [(&recipient_id, Type::INT8), (&secret, Type::TEXT)];
    query_one(client, "SELECT pgalert.rotate_secret($1, $2)", &params).await.map(drop)
}

/// False when there was no older one.
pub async fn drop_old_secret(client: &Client, recipient_id: i64) -> Result<bool, DatabaseError> {
    let params: [Param; 1] = [(&recipient_id, Type::INT8)];
    Ok(query_one(client, "SELECT pgalert.drop_old_secret($1)", &params).await?.try_get(0)?)
}

/// False when it was not disabled.
pub async fn enable_recipient<C: Caller>(client: &C, recipient_id: i64) -> Result<bool, C::Error> {
    let params: [Param; 1] = [(&recipient_id, Type::INT8)];
    Ok(query_one(client, "SELECT pgalert.enable_recipient($1)", &params).await?.try_get(0)?)
}

/// False when the name is known already.
pub async fn add_channel(
    client: &Client,
    name: &str,
    description: Option<&str>,
) -> Result<bool, DatabaseError> {
    let params: [Param; 2] = [(&name, Type::TEXT), (&description, Type::TEXT)];
    Ok(query_one(client, "SELECT pgalert.add_channel($1, $2)", &params).await?.try_get(0)?)
}

/// False when there was none of this name.
pub async fn remove_channel(client: &Client, name: &str) -> Result<bool, DatabaseError> {
    let params: [Param; 1] = [(&name, Type::TEXT)];
    Ok(query_one(client, "SELECT pgalert.remove_channel($1)", &params).await?.try_get(0)?)
}

/// A row of `list_channels()`.
#[derive(Debug, serde::Serialize)]
pub struct ListedChannel {
    pub name: String,
    pub builtin: bool,
    pub description: Option<String>,
}

pub async fn list_channels<C: Caller>(client: &C) -> Result<Vec<ListedChannel>, C::Error> {
    let sql = "SELECT name, builtin, description FROM pgalert.list_channels()";
    let row = |row: &Row| -> Result<ListedChannel, tokio_postgres::Error> {
        Ok(ListedChannel {
            name: row.try_get(0)?,
            builtin: row.try_get(1)?,
            description: row.try_get(2)?,
        })
    };
    let rows = client.call(sql, &[]).await?;
    Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
}

/// False when there was none of this id.
pub async fn remove_recipient(client: &Client, recipient_id: i64) -> Result<bool, DatabaseError> {
    Ok(query_one(client, "SELECT pgalert.remove_recipient($1)", &[(&recipient_id, Type::INT8)])
        .await?
        .try_get(0)?)
}

/// A row of `list_recipients()`.
#[derive(Debug, serde::Serialize)]
pub struct ListedRecipient {
    pub recipient_id: i64,
    pub user_id: String,
    pub channel: String,
    pub address: String,
    pub created_at: DateTime<Utc>,
    /// How many are valid.
    pub secrets: i32,
    pub disabled_at: Option<DateTime<Utc>>,
    pub disabled_reason: Option<String>,
}

pub async fn list_recipients(
    client: &Client,
    user_id: Option<&str>,
) -> Result<Vec<ListedRecipient>, DatabaseError> {
    let sql = "SELECT recipient_id, user_id, channel, address, created_at, secrets, disabled_at, disabled_reason \
               FROM pgalert.list_recipients($1)";
    let row = |row: &Row| -> Result<ListedRecipient, tokio_postgres::Error> {
        Ok(ListedRecipient {
            recipient_id: row.try_get(0)?,
            user_id: row.try_get(1)?,
            channel: row.try_get(2)?,
            address: row.try_get(3)?,
            created_at: row.try_get(4)?,
            secrets: row.try_get(5)?,
            disabled_at: row.try_get(6)?,
            disabled_reason: row.try_get(7)?,
        })
    };
    let rows = client.call(sql, &[(&user_id, Type::TEXT)]).await?;
    Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadlock_passes_and_a_mistake_does_not() {
        let refused = |sqlstate: &str| DatabaseError::Refused {
            sqlstate: sqlstate.into(),
            message: String::new(),
            hint: String::new(),
        };
        for passes in ["40P01", "40001", "53100", "55P03", "57014", "58030"] {
            assert!(refused(passes).may_pass(), "{passes}");
        }
        for stays in ["22023", "42501", "PA002", "XX000"] {
            assert!(!refused(stays).may_pass(), "{stays}");
        }
        assert!(!DatabaseError::LeaseLost(String::new()).may_pass());
    }
}
