//! `pgalert recipients`: where users are reached.

use std::io::Read;
use std::path::Path;

use anyhow::{bail, Context};
use base64::prelude::{Engine, BASE64_STANDARD};
use tokio_postgres::Client;

use crate::cli::RecipientsCommand;
use crate::config::read_secret;
use crate::database::recipients::{self, ListedRecipient};
use crate::output;

/// Of a secret that is made here; Standard Webhooks takes 24 to 64.
const SECRET_BYTES: usize = 32;

pub async fn run(client: &Client, command: RecipientsCommand) -> anyhow::Result<()> {
    match command {
        RecipientsCommand::Add { user, channel, address, secret } => {
            let made = secret.generate_secret.then(new_secret);
            let given = secret.secret_file.as_deref().map(read).transpose()?;
            let secret = made.as_deref().or(given.as_deref());
            let id = recipients::add_recipient(client, &user, &channel, &address, secret).await?;
            match made {
                Some(secret) => output::line(format_args!("{id}\t{secret}"))?,
                None => output::line(id)?,
            }
        }
        RecipientsCommand::RotateSecret { recipient_id, secret_file } => {
            let given = secret_file.as_deref().map(read).transpose()?;
            let made = given.is_none();
            let secret = given.unwrap_or_else(new_secret);
            recipients::rotate_secret(client, recipient_id, &secret).await?;
            if made {
                output::line(secret)?;
            }
        }
        RecipientsCommand::DropOldSecret { recipient_id } => {
            if !recipients::drop_old_secret(client, recipient_id).await? {
                bail!("recipient {recipient_id} has no older secret\nhint: `pgalert recipients list` shows what has two");
            }
        }
        RecipientsCommand::Enable { recipient_id } => {
            if !recipients::enable_recipient(client, recipient_id).await? {
                bail!("recipient {recipient_id} is not disabled");
            }
        }
        RecipientsCommand::Remove { recipient_id } => {
            if !recipients::remove_recipient(client, recipient_id).await? {
                bail!("there is no recipient {recipient_id}\nhint: `pgalert recipients list` shows all");
            }
        }
        RecipientsCommand::List { user, json } => {
            let rows = recipients::list_recipients(client, user.as_deref()).await?;
            if json {
                output::line(serde_json::to_string_pretty(&rows)?)?;
            } else {
                for row in rows {
                    output::line(shown(&row))?;
                }
            }
        }
    }
    Ok(())
}

fn shown(row: &ListedRecipient) -> String {
    let mut line =
        format!("{}\t{}\t{}\t{}", row.recipient_id, row.user_id, row.channel, row.address);
    match row.secrets {
        0 => {}
        1 => line.push_str("\tsigned"),
        _ => line.push_str("\tsigned, two secrets valid"),
    }
    if row.disabled_at.is_some() {
        line.push_str("\tdisabled: ");
        line.push_str(row.disabled_reason.as_deref().unwrap_or_default());
    }
    line
}

fn new_secret() -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(rand::random::<[u8; SECRET_BYTES]>()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text.trim().to_owned());
    }
    Ok(read_secret(path)?.expose().trim().to_owned())
}
