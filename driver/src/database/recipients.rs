//! Where users are reached.

use chrono::{DateTime, Utc};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::{query_one, Caller, DatabaseError, Param};

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
