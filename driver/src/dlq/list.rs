//! What there is: a list, one letter, counts.

use serde_json::{json, Value};
use tokio_postgres::Client;
use uuid::Uuid;

use super::command::{Filter, State};
use crate::database::letters;
use crate::table::{cell, json_line, Table};
use crate::{listing, output};

const GROUPS: i32 = 20;
const COLUMNS: [(&str, &str); 10] = [
    ("ID", "dlq_id"),
    ("SINCE", "created_at"),
    ("STATE", "state"),
    ("NAME", "alert_name"),
    ("ALERT", "alert_id"),
    ("USER", "user_id"),
    ("CHANNELS", "channels"),
    ("RETRIES", "retry_count"),
    ("NEXT", "next_retry_at"),
    ("ERROR", "error_class"),
];

pub async fn list(
    client: &Client,
    filter: &Value,
    sort: &str,
    limit: usize,
    json: bool,
) -> anyhow::Result<()> {
    listing::list(COLUMNS, limit, json, async |after, most| {
        letters::list_dead_letters(client, filter, sort, after, most).await
    })
    .await
}

pub async fn show(client: &Client, id: Uuid, json: bool) -> anyhow::Result<()> {
    let mut letter = letters::dead_letter(client, id).await?;
    let key = letter["delivery_key"].as_str().unwrap_or_default().parse()?;
    let attempts = letters::delivery_attempts(client, key).await?;
    if json {
        letter["attempts"] = attempts.into();
        output::line(json_line(&letter))?;
        return Ok(());
    }
    let mut fields = Table::bare();
    for (field, value) in letter.as_object().into_iter().flatten() {
        if !value.is_null() && field != "recipients" {
            fields.row([field.clone(), cell(value)]);
        }
    }
    output::print(fields)?;
    let shown = ["recipient_id", "channel", "address", "disabled_reason"];
    rows(
        ["RECIPIENT", "CHANNEL", "ADDRESS", "DISABLED"],
        shown,
        letter["recipients"].as_array().into_iter().flatten(),
    )?;
    let shown = ["at", "attempt", "channel", "outcome", "error_class", "error"];
    rows(["AT", "ATTEMPT", "CHANNEL", "OUTCOME", "CLASS", "ERROR"], shown, attempts.iter())
}

/// Counts by state and the largest groups of errors.
pub async fn stats(client: &Client, filter: &Filter, json: bool) -> anyhow::Result<()> {
    let mut states = json!({});
    for state in filter.states() {
        let mut of_state = filter.object();
        of_state["state"] = json!(State::name(state));
        states[state.name()] = json!(letters::count_matching(client, &of_state, i64::MAX).await?);
    }
    let groups = letters::error_groups(client, &filter.object(), GROUPS).await?;
    if json {
        output::line(json_line(json!({"states": states, "groups": groups})))?;
        return Ok(());
    }
    let mut table = Table::new(["STATE", "LETTERS"]);
    for (state, count) in states.as_object().into_iter().flatten() {
        table.row([state.clone(), cell(count)]);
    }
    output::print(table)?;
    let shown = ["letters", "error_class", "channel", "host", "first_at", "last_at", "error_group"];
    rows(["LETTERS", "CLASS", "CHANNEL", "HOST", "FIRST", "LAST", "ERROR"], shown, groups.iter())
}

/// A table behind another; nothing where there is no row.
fn rows<'a, const N: usize>(
    headings: [&str; N],
    fields: [&str; N],
    rows: impl Iterator<Item = &'a Value>,
) -> anyhow::Result<()> {
    let mut table = Table::new(headings);
    for row in rows {
        table.row(fields.map(|field| cell(&row[field])));
    }
    if !table.is_empty() {
        output::line(format_args!("\n{}", table.to_string().trim_end_matches('\n')))?;
    }
    Ok(())
}
