//! `pgalert recipients`: where users are reached.

use anyhow::bail;
use tokio_postgres::Client;

use crate::cli::RecipientsCommand;
use crate::{database, output};

pub async fn run(client: &Client, command: RecipientsCommand) -> anyhow::Result<()> {
    match command {
        RecipientsCommand::Add { user, channel, address } => {
            output::line(database::add_recipient(client, &user, &channel, &address).await?)?;
        }
        RecipientsCommand::Remove { recipient_id } => {
            if !database::remove_recipient(client, recipient_id).await? {
                bail!("there is no recipient {recipient_id}\nhint: `pgalert recipients list` shows all");
            }
        }
        RecipientsCommand::List { user, json } => {
            let rows = database::list_recipients(client, user.as_deref()).await?;
            if json {
                output::line(serde_json::to_string_pretty(&rows)?)?;
            } else {
                for row in rows {
                    output::line(format_args!(
                        "{}\t{}\t{}\t{}",
                        row.recipient_id, row.user_id, row.channel, row.address
                    ))?;
                }
            }
        }
    }
    Ok(())
}
