//! `pgalert channels`: names of channels that alerts may use.

use anyhow::bail;
use tokio_postgres::Client;

use crate::cli::ChannelsCommand;
use crate::{database, output};

pub async fn run(client: &Client, command: ChannelsCommand) -> anyhow::Result<()> {
    match command {
        ChannelsCommand::Add { name, description } => {
            let added =
                database::channels::add_channel(client, &name, description.as_deref()).await?;
            output::line(if added { "added" } else { "known already" })?;
        }
        ChannelsCommand::Remove { name } => {
            if !database::channels::remove_channel(client, &name).await? {
                bail!("there is no channel {name}\nhint: `pgalert channels list` shows all");
            }
        }
        ChannelsCommand::List { json } => {
            let rows = database::channels::list_channels(client).await?;
            if json {
                output::line(serde_json::to_string_pretty(&rows)?)?;
            } else {
                for row in rows {
                    let kind = if row.builtin { "built in" } else { "added" };
                    let description = row.description.unwrap_or_default();
                    output::line(format_args!("{}\t{kind}\t{description}", row.name))?;
                }
            }
        }
    }
    Ok(())
}
