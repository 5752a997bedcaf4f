//! Who did what by hand.

use serde_json::Value;
use tokio_postgres::Client;

use crate::database::letters;
use crate::listing;

const COLUMNS: [(&str, &str); 7] = [
    ("AT", "at"),
    ("WHO", "operator"),
    ("ACTION", "action"),
    ("LETTERS", "letters"),
    ("LETTER", "dlq_id"),
    ("MATCHING", "matching"),
    ("REASON", "reason"),
];

pub async fn log(client: &Client, filter: &Value, limit: usize, json: bool) -> anyhow::Result<()> {
    listing::list(COLUMNS, limit, json, async |after, most| {
        letters::list_actions(client, filter, after, most).await
    })
    .await
}
