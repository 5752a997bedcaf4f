//! Who did what by hand.

use serde_json::Value;
use tokio_postgres::Client;

use crate::database::letters;
use crate::output;
use crate::table::{cell, json_line, Table};

const PAGE: usize = 1000;
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
    let mut table = Table::new(COLUMNS.map(|(heading, _)| heading));
    let (mut left, mut after) = (limit, None);
    while left > 0 {
        let size = left.min(PAGE);
        let mut page = letters::list_actions(client, filter, after.as_ref(), size as i32).await?;
        for action in &mut page {
            after = letters::take_cursor(action);
            if json {
                output::line(json_line(action))?;
            } else {
                table.row(COLUMNS.map(|(_, field)| cell(&action[field])));
            }
        }
        left = if page.len() < size { 0 } else { left - size };
    }
    if !json {
        output::print(table)?;
    }
    Ok(())
}
