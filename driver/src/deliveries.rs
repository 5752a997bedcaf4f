//! `pgalert deliveries`: what was delivered.

use clap::Subcommand;
use serde_json::{Map, Value};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::database::letters;
use crate::table::{cell, json_line, Table};
use crate::{listing, output};

const COLUMNS: [(&str, &str); 8] = [
    ("AT", "delivered_at"),
    ("ALERT", "alert_id"),
    ("USER", "user_id"),
    ("CHANNELS", "delivery_methods"),
    ("ATTEMPT", "attempt"),
    ("PRIORITY", "priority"),
    ("SECONDS", "seconds"),
    ("KEY", "delivery_key"),
];

#[derive(Debug, Subcommand)]
pub enum DeliveriesCommand {
    /// List deliveries, the newest first
    List {
        #[arg(long, value_name = "ALERT_ID")]
        alert: Option<String>,
        #[arg(long, value_name = "USER_ID")]
        user: Option<String>,
        #[arg(long, value_name = "NAME")]
        channel: Option<String>,
        /// Such as "1 hour"
        #[arg(long, value_name = "INTERVAL")]
        older_than: Option<String>,
        /// Such as "7 days"
        #[arg(long, value_name = "INTERVAL")]
        newer_than: Option<String>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show each attempt on a message, by its key
    Show {
        key: Uuid,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(client: &Client, command: DeliveriesCommand) -> anyhow::Result<()> {
    match command {
        DeliveriesCommand::List { alert, user, channel, older_than, newer_than, limit, json } => {
            let given = [
                ("alert_id", alert),
                ("user_id", user),
                ("channel", channel),
                ("older_than", older_than),
                ("newer_than", newer_than),
            ];
            let filter: Map<String, Value> = given
                .into_iter()
                .filter_map(|(key, text)| Some((key.to_owned(), text?.into())))
                .collect();
            let filter = Value::Object(filter);
            listing::list(COLUMNS, limit, json, async |after, most| {
                letters::find_deliveries(client, &filter, after, most).await
            })
            .await
        }
        DeliveriesCommand::Show { key, json } => show(client, key, json).await,
    }
}

async fn show(client: &Client, key: Uuid, json: bool) -> anyhow::Result<()> {
    let attempts = letters::delivery_attempts(client, key).await?;
    if attempts.is_empty() {
        anyhow::bail!(
            "there is no attempt on a message {key}\nhint: `pgalert deliveries list` shows keys"
        );
    }
    let mut table = Table::new(["AT", "ATTEMPT", "CHANNEL", "OUTCOME", "CLASS", "ERROR", "HOST"]);
    let fields = ["at", "attempt", "channel", "outcome", "error_class", "error", "host"];
    for attempt in &attempts {
        if json {
            output::line(json_line(attempt))?;
        } else {
            table.row(fields.map(|field| cell(&attempt[field])));
        }
    }
    if !json {
        output::print(table)?;
    }
    Ok(())
}
