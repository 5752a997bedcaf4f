//! Lists as long as one asks for: page after page, a table for people or a JSON object a line for programs.

use serde_json::Value;

use crate::database::letters::Page;
use crate::output;
use crate::table::{cell, json_line, Table};

const PAGE: usize = 1000;

/// `columns`: headings, and the fields below them. `page` is asked for what comes after a cursor, and for how much.
pub async fn list<const N: usize, E: Into<anyhow::Error>>(
    columns: [(&str, &str); N],
    limit: usize,
    json: bool,
    mut page: impl AsyncFnMut(Option<&Value>, i32) -> Result<Page, E>,
) -> anyhow::Result<()> {
    let mut table = Table::new(columns.map(|(heading, _)| heading));
    let (mut left, mut after) = (limit, None);
    while left > 0 {
        let page = page(after.as_ref(), left.min(PAGE) as i32).await.map_err(Into::into)?;
        for row in &page.rows {
            if json {
                output::line(json_line(row))?;
            } else {
                table.row(columns.map(|(_, field)| cell(&row[field])));
            }
        }
        left = if page.next.is_some() { left - page.rows.len() } else { 0 };
        after = page.next;
    }
    if !json {
        output::print(table)?;
    }
    Ok(())
}
