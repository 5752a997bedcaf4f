//! The names of channels that alerts may use.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::{query_one, Caller, DatabaseError, Param};

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
