//! Changes what a letter will send.

use std::io::{Read, Write};
use std::process::Command;

use anyhow::{bail, Context};
use serde_json::{json, Value};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::database::letters;
use crate::output;

pub async fn edit(
    client: &Client,
    id: Uuid,
    message: Option<String>,
    channels: Vec<String>,
    reason: Option<&str>,
) -> anyhow::Result<()> {
    let mut changes = json!({});
    if let Some(message) = message {
        changes["message"] = json!(message);
    }
    if !channels.is_empty() {
        changes["channels"] = json!(channels);
    }
    if changes == json!({}) {
        let alert_data = letters::dead_letter(client, id).await?["alert_data"].take();
        let edited = in_editor(&alert_data)?;
        if edited == alert_data {
            output::line("unchanged")?;
            return Ok(());
        }
        changes["alert_data"] = edited;
    }
    output::line(letters::edit_dead_letter(client, id, &changes, reason).await?)?;
    Ok(())
}

fn in_editor(value: &Value) -> anyhow::Result<Value> {
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|editor| !editor.is_empty()))
        .context("there is no editor\nhint: set EDITOR, or give --message or --channels")?;
    let mut file = tempfile::Builder::new().prefix("pgalert-").suffix(".json").tempfile()?;
    writeln!(file, "{value:#}")?;
    // By a shell, as git does: an editor may have arguments.
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file.path())
        .status()
        .context("cannot start the editor")?;
    if !status.success() {
        bail!("the editor ended with {status}: nothing was changed");
    }
    let mut text = String::new();
    // Many editors write a new file in place of the old one.
    std::fs::File::open(file.path())?.read_to_string(&mut text)?;
    serde_json::from_str(&text).context("what was edited is no JSON: nothing was changed")
}
